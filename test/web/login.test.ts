import { appRoutes } from '@bull-board/api/dist/routes.js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { clientAddress } from '../../src/web/client-address.ts';
import { createFailedLogins } from '../../src/web/failed-logins.ts';
import { basic, credentials, startFixture } from './web-fixture.ts';
import type { WebFixture } from './web-fixture.ts';

let fixture: WebFixture;
beforeAll(async () => {
  fixture = await startFixture();
});
afterAll(() => fixture.close());

const boardPaths = [...appRoutes.api, appRoutes.entryPoint].flatMap(({ method, route }) =>
  [route].flat().flatMap((path) => [method].flat().map((verb) => `${verb} /queues${path}`)),
);
const otherPaths = ['get /', 'get /metrics', 'get /nowhere', 'post /healthz', 'post /queues'];

it.each([...boardPaths, ...otherPaths, 'get /queues/static/favicon.ico'])(
  'answers 401 without a login: %s',
  async (route) => {
    const [method = '', path = ''] = route.split(' ');
    const answer = await fetch(`${fixture.url}${path}`, { method: method.toUpperCase() });
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toContain('Basic');
    expect(await answer.text()).toBe('Login required.\n');
  },
);

it('serves health and readiness without a login and without detail', async () => {
  const health = await fetch(`${fixture.url}/healthz`);
  expect([health.status, await health.json()]).toEqual([200, { alive: true }]);
  const ready = await fetch(`${fixture.url}/readyz`);
  expect([ready.status, await ready.json()]).toEqual([200, { ready: true }]);
  const status = await fetch(`${fixture.url}/status`);
  expect([status.status, await status.json()]).toEqual([
    503,
    {
      working: false,
      problems: [
        { part: 'scheduler', reason: 'none_live' },
        { part: 'worker', reason: 'none_live' },
      ],
      lastDispatchAt: null,
      lastEndAt: null,
    },
  ]);
});

it.each([
  ['a wrong password', basic(credentials.user, 'wrong')],
  ['a wrong user', basic('someone', credentials.password)],
  ['an empty password', basic(credentials.user, '')],
  ['a password that goes on', basic(credentials.user, `${credentials.password}x`)],
  ['another scheme', `Bearer ${credentials.password}`],
  ['no base64', 'Basic ***'],
])('refuses %s', async (_, authorization) => {
  const answer = await fixture.request('/queues', {
    headers: { authorization, 'x-forwarded-for': '203.0.113.1' },
  });
  expect(answer.status).toBe(401);
});

it('accepts the right login', async () => {
  const answer = await fixture.request('/');
  expect([answer.status, answer.headers.get('location')]).toEqual([302, '/queues']);
});

it('locks out an address after ten wrong passwords, and no other address', async () => {
  const from = (address: string, password: string): Promise<Response> =>
    fixture.request('/queues', {
      headers: {
        authorization: basic(credentials.user, password),
        // The first entry is the client's own word, the last one the router's.
        'x-forwarded-for': `198.51.100.${Math.floor(Math.random() * 250)}, ${address}`,
      },
    });
  const guesses = await Promise.all(
    Array.from({ length: 30 }, (_, guess) => from('203.0.113.9', `guess ${guess}`)),
  );
  expect(guesses.filter(({ status }) => status === 401)).toHaveLength(10);
  expect(guesses.filter(({ status }) => status === 429)).toHaveLength(20);
  const locked = await from('203.0.113.9', credentials.password);
  expect(locked.status).toBe(429);
  expect(Number(locked.headers.get('retry-after'))).toBeGreaterThan(0);
  expect((await from('203.0.113.10', credentials.password)).status).toBe(200);
});

it('logs a refused login without the password', () => {
  const lines = fixture.logged.filter((line) => line.includes('login_refused'));
  expect(lines.length).toBeGreaterThan(0);
  expect(fixture.logged.join('')).not.toMatch(/guess \d|correct horse|Basic /);
});

it('drops failures after the time window, and the oldest addresses when there are too many', () => {
  const failed = createFailedLogins({ limit: 2, windowMs: 60_000, addresses: 3 });
  failed.add('a', 0);
  failed.add('a', 1_000);
  expect(failed.retryAfterSeconds('a', 2_000)).toBe(58);
  expect(failed.retryAfterSeconds('a', 60_000)).toBe(0);
  for (const address of ['b', 'c', 'd', 'e']) {
    failed.add(address, 60_000);
    failed.add(address, 60_000);
  }
  expect(failed.retryAfterSeconds('b', 61_000)).toBe(0);
  expect(failed.retryAfterSeconds('e', 61_000)).toBe(59);
});

it.each([
  ['203.0.113.5', '198.51.100.1', '203.0.113.5'],
  ['10.1.2.3', '6.6.6.6, 198.51.100.1', '198.51.100.1'],
  ['::ffff:10.1.2.3', '198.51.100.1', '198.51.100.1'],
  ['::1', undefined, '::1'],
  ['fd00::1', '2001:db8::7', '2001:db8::7'],
  ['10.1.2.3', 'not an address', '10.1.2.3'],
])('reads X-Forwarded-For from a router only: peer %s, header %s', (peer, header, client) => {
  expect(clientAddress(peer, header)).toBe(client);
});
