/** What is wrong with the body of a request is said as a problem that names it, and nothing is done. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bearer, makeToken } from '../../access/access-fixture.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import { askWith, jobsOf } from '../api-fixture.ts';
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

const job = (more: object = {}) => ({ tenantId: fixture.tenantId, jobType: 'report', ...more });

describe('bodies', () => {
  const post = (body: string | Uint8Array, headers: Record<string, string> = {}) =>
    ask('/jobs', { body, headers });

  it.each([
    ['text/plain'],
    ['application/x-www-form-urlencoded'],
    ['application/json; charset=latin1'],
    ['application/jsonp'],
    ['multipart/form-data; boundary=x'],
  ])('of the type %s are 415', async (type) => {
    const answer = await post(JSON.stringify(job()), { 'content-type': type });
    expect([answer.status, answer.json.code]).toEqual([415, 'unsupported_media_type']);
    expect(answer.json.detail).toContain('application/json');
  });

  it.each([
    ['not JSON', '{'],
    ['empty text', ' '],
    ['not UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])],
    ['with a byte order mark', '\ufeff{}'],
  ])('that are %s are 400', async (_, body) => {
    const answer = await post(body);
    expect([answer.status, answer.json.code]).toEqual([400, 'invalid_json']);
  });

  it.each([
    ['null', ''],
    ['[]', ''],
    ['"x"', ''],
    ['{"jobType":"report"}', '/tenantId'],
    ['{"tenantId":1,"jobType":"report"}', '/tenantId'],
    ['{"tenantId":"a\\u0000","jobType":"report"}', '/tenantId'],
    ['{"tenantId":"a","jobType":"report","payload":[]}', '/payload'],
    ['{"tenantId":"a","jobType":"report","priority":1001}', '/priority'],
    ['{"tenantId":"a","jobType":"report","priority":1.5}', '/priority'],
    ['{"tenantId":"a","jobType":"report","priority":1e999}', '/priority'],
    ['{"tenantId":"a","jobType":"report","runAt":"soon"}', '/runAt'],
    ['{"tenantId":"a","jobType":"report","paylaod":{}}', '/paylaod'],
    ['{"tenantId":"a","jobType":"report","__proto__":{}}', '/__proto__'],
  ])('with a wrong field are 400 and name it: %s', async (body, name) => {
    const answer = await post(body);
    expect([answer.status, answer.json.code]).toEqual([400, 'invalid_request']);
    expect(answer.json.errors).toMatchObject([{ in: 'body', name }]);
  });

  it.each([
    ['a number beyond 2^53', '{"n":9007199254740993}', 'invalid_payload', 400],
    ['an infinite number', '{"n":1e999}', 'invalid_payload', 400],
    ['a NUL character', '{"n":"\\u0000"}', 'invalid_payload', 400],
    ['half of a surrogate pair', '{"n":"\\ud800"}', 'invalid_payload', 400],
    ['more than 1 MiB', `{"n":"${'x'.repeat(1_048_577)}"}`, 'payload_too_large', 413],
  ])('whose payload has %s are refused', async (_, payload, code, status) => {
    const whole = JSON.stringify(job({ payload: {} })).replace(
      '"payload":{}',
      () => `"payload":${payload}`,
    );
    const answer = await post(whole);
    expect([answer.status, answer.json.code]).toEqual([status, code]);
    expect(answer.text).not.toContain('xxxx');
  });

  it('with very deep nesting are refused, not a crash', async () => {
    const deep = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`;
    const whole = JSON.stringify(job({ payload: {} })).replace(
      '"payload":{}',
      () => `"payload":${deep}`,
    );
    const answer = await post(whole);
    expect([answer.status < 500, answer.status >= 400]).toEqual([true, true]);
  });

  it('of 10 MB are 413, whether their length is told or not', async () => {
    const large = Buffer.alloc(10_000_000, 'x');
    const headers = { 'content-type': 'application/json', 'idempotency-key': 'large' };
    const told = await raw(
      'POST',
      '/api/v1/jobs',
      { ...headers, 'content-length': '10000000' },
      large,
    );
    expect([told.status, told.json?.code]).toEqual([413, 'body_too_large']);
    const chunked = await raw(
      'POST',
      '/api/v1/jobs',
      { ...headers, 'transfer-encoding': 'chunked' },
      large,
    );
    expect([chunked.status, chunked.json?.code]).toEqual([413, 'body_too_large']);
  });

  it.each([
    ['{"reason":"  "}', '/reason'],
    ['{"reason":"two\\nlines"}', '/reason'],
    [`{"reason":"${'x'.repeat(501)}"}`, '/reason'],
    ['{}', '/reason'],
  ])('of an act need a reason: %s', async (body, name) => {
    const answer = await ask('/jobs/1/cancel', { body });
    expect(answer.json.errors).toMatchObject([{ in: 'body', name }]);
  });

  it.each([['-1'], ['1e3'], ['0.0000000001'], ['NaN'], [''], ['1000000000'], [5]])(
    'with the amount %j are refused',
    async (usd) => {
      const path = `/tenants/${fixture.tenantId}/budget/top-up`;
      const answer = await ask(path, { body: { usd, reason: 'x' } });
      expect(answer.json.errors).toMatchObject([{ in: 'body', name: '/usd' }]);
    },
  );

  it('with an amount of nothing are refused by the act itself', async () => {
    const path = `/tenants/${fixture.tenantId}/budget/top-up`;
    const answer = await ask(path, { body: { usd: '0', reason: 'x' } });
    expect([answer.status, answer.json.code]).toEqual([400, 'usage']);
  });

  it('that were refused have made no job', async () => {
    expect(await jobsOf(fixture, fixture.tenantId)).toBe(0);
  });
});
