import { appRoutes } from '@bull-board/api/dist/routes.js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { clientAddressReader } from '../../../src/web/access/client-address.ts';
import { basic, credentials, startFixture } from '../web-fixture.ts';
import type { WebFixture } from '../web-fixture.ts';

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
    headers: { authorization },
  });
  expect(answer.status).toBe(401);
});

it('accepts the right login', async () => {
  const answer = await fixture.request('/');
  expect([answer.status, answer.headers.get('location')]).toEqual([302, '/now']);
});

it('logs a refused login without the password', () => {
  const lines = fixture.logged.filter((line) => line.includes('login_refused'));
  expect(lines.length).toBeGreaterThan(0);
  expect(fixture.logged.join('')).not.toMatch(/guess \d|correct horse|Basic /);
});

const routers = ['10.0.0.0/8', '192.0.2.7', 'fd00::/8', '::1'];
it.each([
  ['203.0.113.5', '198.51.100.1', '203.0.113.5'],
  ['10.1.2.3', '6.6.6.6, 198.51.100.1', '198.51.100.1'],
  ['10.1.2.3', '6.6.6.6, 198.51.100.1, 192.0.2.7, 10.9.9.9', '198.51.100.1'],
  ['10.1.2.3', '10.4.4.4', '10.4.4.4'],
  ['192.168.1.1', '198.51.100.1', '192.168.1.1'],
  ['::ffff:10.1.2.3', '198.51.100.1', '198.51.100.1'],
  ['::1', undefined, '::1'],
  ['fd00::1', '2001:db8::7', '2001:db8::7'],
  ['10.1.2.3', '198.51.100.1:4711', '198.51.100.1'],
  ['10.1.2.3', '[2001:db8::7]:4711', '2001:db8::7'],
  ['10.1.2.3', 'not an address', '10.1.2.3'],
  ['10.1.2.3', '198.51.100.1, not an address', '10.1.2.3'],
  [undefined, '198.51.100.1', 'unknown'],
])(
  'reads X-Forwarded-For from trusted proxies only: peer %s, header %s',
  (peer, header, client) => {
    expect(clientAddressReader(routers)(peer, header)).toBe(client);
  },
);

it.each(['10.1.2.3', '127.0.0.1', '::1'])(
  'reads it from no peer without trusted proxies: %s',
  (peer) => {
    expect(clientAddressReader([])(peer, '198.51.100.1')).toBe(peer);
  },
);
