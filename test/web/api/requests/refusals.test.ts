/** What is wrong with the path, the method or the query of a request is said as a problem that names it, and nothing is done. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bearer, makeToken } from '../../access/access-fixture.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import { askWith } from '../api-fixture.ts';
import type { Ask } from '../api-fixture.ts';
import { rawWith } from './raw-request.ts';
import type { RawAsk } from './raw-request.ts';

let fixture: WebFixture;
let token: string;
let ask: Ask;
let raw: RawAsk;
beforeAll(async () => {
  fixture = await startFixture();
  token = await makeToken(fixture, { role: 'admin' });
  ask = askWith(fixture, bearer(token));
  raw = rawWith(fixture.url, bearer(token));
});
afterAll(() => fixture.close());

describe('paths and methods', () => {
  it.each([
    ['GET', '/api'],
    ['GET', '/api/'],
    ['GET', '/api/v1'],
    ['GET', '/api/v2/jobs'],
    ['GET', '/api/v1/no-such-thing'],
    ['GET', '/api/v1/jobs/../no-such-thing'],
    ['POST', '/api/v1/jobs/1/no-such-act'],
  ])('%s %s is 404 as a problem', async (method, path) => {
    const answer = await raw(method, path);
    expect([answer.status, answer.json]).toEqual([
      404,
      {
        type: 'about:blank',
        title: 'Not Found',
        status: 404,
        code: 'not_found',
        detail: 'there is nothing at this path; see /api/v1/openapi.json',
      },
    ]);
  });

  it.each([
    ['DELETE', '/jobs', 'POST, GET, HEAD'],
    ['PATCH', '/jobs/1', 'GET, HEAD'],
    ['GET', '/jobs/1/cancel', 'POST'],
    ['OPTIONS', '/tenants/a/budget', 'GET, PUT, HEAD'],
    ['PUT', '/openapi.json', 'GET, HEAD'],
  ])('%s %s is 405 and names what is possible', async (method, path, allowed) => {
    const answer = await raw(method, `/api/v1${path}`);
    expect([answer.status, answer.json?.code, answer.headers.allow]).toEqual([
      405,
      'method_not_allowed',
      allowed,
    ]);
  });

  it.each([
    ['/jobs/0'],
    ['/jobs/-1'],
    ['/jobs/1.5'],
    ['/jobs/9223372036854775808'],
    ['/jobs/..%2f..%2fetc%2fpasswd'],
    ['/jobs/1%00'],
    ['/jobs/%ff'],
    [`/jobs/${'9'.repeat(4_000)}`],
    ['/dead-letters/x'],
  ])('the job id of %s is refused by name', async (path) => {
    const answer = await raw('GET', `/api/v1${path}`);
    expect([answer.status, answer.json?.code]).toEqual([400, 'invalid_request']);
    expect(answer.json?.errors).toMatchObject([{ in: 'path', name: 'jobId' }]);
  });

  it('a path that leads upwards is the path that it leads to, with its own rule', async () => {
    for (const path of [
      '/../../etc/passwd',
      '/%2e%2e/%2e%2e/etc/passwd',
      '/..%2f..%2fetc%2fpasswd',
    ]) {
      expect([path, (await raw('GET', `/api/v1${path}`)).status]).toEqual([path, 404]);
    }
    const viewer = bearer(await makeToken(fixture, { role: 'viewer' }));
    expect((await raw('GET', '/api/v1/../../access', viewer)).status).toBe(403);
  });

  it('a header cannot be injected by a name, a cursor or a key', async () => {
    for (const path of [
      '/tenants/a%0d%0aSet-Cookie:%20x=1/budget',
      '/jobs?cursor=%0d%0aSet-Cookie:%20x=1',
      '/audit?operator=%0d%0aSet-Cookie:%20x=1',
      '/no%0d%0aSet-Cookie:%20x=1',
    ]) {
      const answer = await raw('GET', `/api/v1${path}`);
      expect([path, answer.headers['set-cookie']]).toEqual([path, undefined]);
      expect([path, answer.status < 500]).toEqual([path, true]);
    }
  });
});

describe('queries', () => {
  it.each([
    ['limit=0', 'limit'],
    ['limit=201', 'limit'],
    ['limit=1e1', 'limit'],
    ['limit=-5', 'limit'],
    ['limit=', 'limit'],
    ['limit=1&limit=2', 'limit'],
    ['since=yesterday', 'since'],
    ['since=2026-13-01T00:00:00Z', 'since'],
    ['until=2026-12-01', 'until'],
    ['state=lost', 'state'],
    ['id=x', 'id'],
    ['attempt=-1', 'attempt'],
    ['attempt=9999999', 'attempt'],
    ['fingerprint=x', 'fingerprint'],
    ['text=%21%21', 'text'],
    ['text=%00', 'text'],
    ['tenant=', 'tenant'],
    [`dedupKey=${'x'.repeat(501)}`, 'dedupKey'],
    ['offset=10', 'offset'],
  ])('?%s is 400 and names the parameter', async (query, name) => {
    const answer = await ask(`/jobs?${query}`);
    expect([answer.status, answer.json.code]).toEqual([400, 'invalid_request']);
    expect(answer.json.errors).toMatchObject([{ in: 'query', name }]);
    expect(answer.json.detail).toContain(`query ${name}: `);
  });

  it('a tenant or type that is not there is 404, and a plan finds nothing', async () => {
    expect((await ask('/jobs?tenant=nobody')).json.code).toBe('unknown_tenant');
    expect((await ask('/jobs?type=no_such')).json.code).toBe('unknown_job_type');
    expect((await ask('/jobs?plan=none')).json.items).toEqual([]);
  });

  it('a body of a GET is refused', async () => {
    const answer = await raw('GET', '/api/v1/jobs', { 'content-length': '2' }, '{}');
    expect([answer.status, answer.json?.errors?.[0]?.in]).toEqual([400, 'body']);
  });
});
