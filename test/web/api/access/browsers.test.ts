/** Writes by a browser's login: a session needs its CSRF token as a header and an origin of this host; nothing else will do. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { addOperators, actsOf, browserOf } from '../../access/access-fixture.ts';
import { hiddenFields } from '../../browser.ts';
import { basic, credentials, startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import { askWith } from '../api-fixture.ts';

let fixture: WebFixture;
let cookie: string;
let csrf: string;
beforeAll(async () => {
  fixture = await startFixture();
  await addOperators(fixture);
  const browser = await browserOf(fixture, 'operator');
  cookie = `purser_session=${browser.cookie('purser_session') ?? ''}`;
  csrf = hiddenFields((await browser.get('/audit')).text)['csrf'] ?? '';
});
afterAll(() => fixture.close());

const body = () => ({ scope: 'tenant', name: fixture.tenantId, reason: 'quiet' });
const pauses = async (): Promise<number> =>
  (await fixture.database.system`select from pauses`).length;

it('a session reads, and writes with its token, as itself', async () => {
  const ask = askWith(fixture, { cookie, origin: fixture.url });
  expect((await ask('/jobs')).status).toBe(200);
  expect(csrf).not.toBe('');
  const done = await ask('/pauses', { body: body(), headers: { 'x-csrf-token': csrf } });
  expect([done.status, await pauses()]).toEqual([200, 1]);
  expect(await actsOf(fixture, 'pause')).toMatchObject([
    { operator: 'the operator', proof: 'session', door: 'api' },
  ]);
  await fixture.database.system`delete from pauses`;
});

it.each([
  ['no token', {}, 'csrf'],
  ['a wrong token', { 'x-csrf-token': 'A'.repeat(43) }, 'csrf'],
  ['another origin', { origin: 'http://evil.example' }, 'cross_origin'],
  ['no origin', { origin: '' }, 'cross_origin'],
  ['a page of another site', { 'sec-fetch-site': 'cross-site' }, 'cross_origin'],
])('a session with %s writes nothing', async (_, headers, code) => {
  const token = code === 'cross_origin' ? { 'x-csrf-token': csrf } : {};
  const ask = askWith(fixture, { cookie, origin: fixture.url, ...token });
  const answer = await ask('/pauses', { body: body(), headers });
  expect([answer.status, answer.json.code]).toEqual([403, code]);
  expect(answer.headers.get('content-type')).toBe('application/problem+json');
  expect(await pauses()).toBe(0);
});

it('the password of the environment reads, and writes nothing', async () => {
  const authorization = basic(credentials.user, credentials.password);
  const ask = askWith(fixture, { authorization, origin: fixture.url });
  expect((await ask('/jobs')).status).toBe(200);
  const answer = await ask('/pauses', { body: body() });
  expect([answer.status, answer.json.code]).toEqual([403, 'csrf']);
  expect(answer.json.detail).toContain('purser tokens add');
  expect(await pauses()).toBe(0);
});

it('answers are not kept by caches, and have no script', async () => {
  const answer = await askWith(fixture, { cookie })('/jobs');
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
  expect(answer.headers.get('content-security-policy')).toContain("default-src 'none'");
});
