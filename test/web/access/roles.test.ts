/** Every route asks for a role: no login, a lower role, a limited token and a forged token are refused. */
import { Hono } from 'hono';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasRole, roles } from '../../../src/operations/operators/roles.ts';
import type { Role } from '../../../src/operations/operators/roles.ts';
import { previewBatch } from '../../../src/operations/batches/preview.ts';
import { createMetrics } from '../../../src/metrics.ts';
import {
  assertRuled,
  forEverybody,
  requireRole,
  rulesOf,
} from '../../../src/web/access/route-rules.ts';
import { createWebApp } from '../../../src/web/app.ts';
import type { WebEnv } from '../../../src/web/web-env.ts';
import { removeToken } from '../../../src/operations/operators/tokens.ts';
import { basic, credentials, startFixture } from '../web-fixture.ts';
import type { WebFixture } from '../web-fixture.ts';
import { addOperators, bearer, browserOf, by, makeToken } from './access-fixture.ts';
import type { Browser } from '../browser.ts';

let fixture: WebFixture;
let jobId: string;
let routes: ReturnType<typeof rulesOf>;
let allRoutes: ReturnType<typeof rulesOf>;
const browsers = new Map<Role, Browser>();
beforeAll(async () => {
  fixture = await startFixture();
  await addOperators(fixture);
  // The job of the routes that name one.
  jobId = await fixture.deadLetter();
  await previewBatch(fixture.database.system, by, { act: 'replay', filter: { jobId } });
  for (const role of roles) browsers.set(role, await browserOf(fixture, role));
  const { database, backend, transport, log, payloads } = fixture;
  const app = createWebApp({
    database,
    backend,
    transport,
    log,
    credentials,
    payloads,
    jobTypes: () => Promise.resolve(['report']),
    metrics: createMetrics(),
    version: '1.2.3',
  });
  allRoutes = rulesOf(app);
  // The API is walked from its document: test/web/api/access.
  routes = allRoutes.filter(({ path }) => !path.startsWith('/api/'));
});
afterAll(() => fixture.close());

const pathOf = (path: string): string =>
  path
    .replace(/:queueName/, 'report')
    .replace(/:queueStatus/, 'delayed')
    .replace(/\/\*$/, '/static/favicon.ico')
    .replace('/:id', `/${jobId}`)
    .replace('/:tenant', `/${fixture.tenantId}`)
    .replaceAll(/:\w+(\{[^}]*\})?/g, '1');

const request = (method: string, path: string, headers: Record<string, string>) =>
  fetch(`${fixture.url}${pathOf(path)}`, {
    method: method === 'ALL' ? 'GET' : method,
    redirect: 'manual',
    headers: { origin: fixture.url, ...headers },
  });

const statuses: Readonly<Record<string, number>> = { '/': 302, '/status': 503, '/money/call': 400 };

const cookieOf = (role: Role): Record<string, string> => ({
  cookie: `purser_session=${browsers.get(role)?.cookie('purser_session') ?? ''}`,
});

describe('the rules', () => {
  it('are there for every route', () => {
    expect(routes.length).toBeGreaterThan(40);
    expect(allRoutes.filter(({ rule }) => rule === undefined)).toEqual([]);
    const open = allRoutes.filter(({ rule }) => rule === 'public').map(({ path }) => path);
    expect(open.map((path) => path.replace(/\.[0-9a-f]{12}\./, '.HASH.'))).toEqual([
      '/healthz',
      '/readyz',
      '/status',
      '/assets/console.HASH.css',
      '/assets/console.HASH.js',
      '/login',
      '/login',
    ]);
    const forOperators = routes.filter(({ rule }) => rule === 'operator').map(({ path }) => path);
    const ofJob = ['cancel', 'replay', 'discard', 'edit'].map((act) => `/jobs/:id/${act}`);
    const ofBatch = ['start', 'stop', 'resume', 'undo'].map((act) => `/batches/:id/${act}`);
    const under = (page: string, ...acts: string[]) => acts.map((act) => `/${page}/${act}`);
    expect(forOperators).toEqual([
      ...ofJob,
      '/batches',
      ...ofBatch,
      ...under('schedules', 'pause', 'resume', 'run'),
      ...under('workers', 'drain', 'undo-drain'),
      ...under('pauses', 'pause', 'stop', 'resume'),
      '/money/resolve',
      ...under('budgets', 'set', 'top-up', 'set-scope', 'remove-scope', 'lift-stop'),
      '/budgets/close-breaker',
    ]);
    const forAdmins = routes.filter(({ rule }) => rule === 'admin').map(({ path }) => path);
    expect(forAdmins).toEqual(['/access', '/access/end-session', '/access/remove-token']);
  });

  it('keep an application with a route that has none from being made', () => {
    const app = new Hono<WebEnv>();
    app.get('/open', forEverybody(), (c) => c.text(''));
    app.use('/under/*', requireRole('viewer'));
    app.get('/under/it', (c) => c.text(''));
    expect(() => assertRuled(app)).not.toThrow();
    app.get('/forgotten', (c) => c.text(''));
    app.post('/open', (c) => c.text(''));
    app.get('/underneath', (c) => c.text(''));
    expect(() => assertRuled(app)).toThrow(
      'routes without a rule: GET /forgotten, POST /open, GET /underneath',
    );
  });

  it('refuse, on every route, whoever is not logged in and every lower role', async () => {
    const limited = await makeToken(fixture, { role: 'admin', tenants: [fixture.tenantId] });
    let refused = 0;
    for (const { method, path, rule } of routes) {
      if (rule === undefined || rule === 'public') continue;
      const strangers = [
        {},
        { cookie: `purser_session=${'A'.repeat(43)}` },
        bearer(`purser_${'A'.repeat(43)}`),
        bearer('x'),
      ];
      for (const headers of strangers) {
        const { status } = await request(method, path, headers);
        expect([method, path, headers, status]).toEqual([method, path, headers, 401]);
        refused += 1;
      }
      for (const role of roles.filter((each) => !hasRole(each, rule))) {
        const { status } = await request(method, path, cookieOf(role));
        expect([method, path, role, status]).toEqual([method, path, role, 403]);
        refused += 1;
      }
      // Whoever may be logged in may log out.
      const { status } = await request(method, path, bearer(limited));
      expect([method, path, status]).toEqual([method, path, path === '/logout' ? 303 : 403]);
    }
    expect(refused).toBeGreaterThan(150);
  });

  it('let each role read what is its own', async () => {
    const reading = routes.filter(({ method, path }) => method === 'GET' && !/queues\//.test(path));
    for (const { path, rule } of reading) {
      for (const role of roles) {
        if (rule === undefined || (rule !== 'public' && !hasRole(role, rule))) continue;
        const { status } = await request('GET', path, cookieOf(role));
        expect([path, role, status]).toEqual([path, role, statuses[path] ?? 200]);
      }
    }
  });
});

describe('a token', () => {
  it('is a login of a program, with its role, until it is removed or expires', async () => {
    const token = await makeToken(fixture, { name: 'metrics' });
    const asked = async () => (await request('GET', '/metrics', bearer(token))).status;
    expect(await asked()).toBe(200);
    expect((await request('GET', '/access', bearer(token))).status).toBe(403);
    const { system } = fixture.database;
    await system`update api_tokens set expires_at = now() where name = 'metrics'`;
    expect(await asked()).toBe(401);
    await system`update api_tokens set expires_at = now() + interval '1 day' where name = 'metrics'`;
    expect(await asked()).toBe(200);
    await system.begin((tx) => removeToken(tx, by, { name: 'metrics' }));
    expect(await asked()).toBe(401);
  });

  it('needs no token of a form and no origin, and acts under its name', async () => {
    const token = await makeToken(fixture, { name: 'cleaner', role: 'admin' });
    await makeToken(fixture, { name: 'old' });
    const answer = await fetch(`${fixture.url}/access/remove-token`, {
      method: 'POST',
      redirect: 'manual',
      body: new URLSearchParams({ name: 'old' }),
      headers: bearer(token),
    });
    expect(answer.status).toBe(303);
    const [act] = await fixture.database.system`
      select operator, proof from operator_acts where act = 'token_remove' and target->>'name' = 'old'`;
    expect(act).toEqual({ operator: 'cleaner', proof: 'token' });
  });

  it('of which the cookie is of somebody else counts alone', async () => {
    const token = await makeToken(fixture);
    const both = { ...cookieOf('admin'), ...bearer(token) };
    expect((await request('GET', '/access', both)).status).toBe(403);
  });

  it.each([
    ['in the past', -1],
    ['more than a year ahead', 366 * 86_400_000],
  ])('is not made with an expiry %s', async (_, aheadMs) => {
    const expiresAt = new Date(Date.now() + aheadMs);
    await expect(makeToken(fixture, { expiresAt })).rejects.toMatchObject({ code: 'token_expiry' });
  });
});

it('the login of the environment by HTTP Basic is an administrator, whose forms need their token', async () => {
  const authorization = basic(credentials.user, credentials.password);
  const page = await fetch(`${fixture.url}/access`, { headers: { authorization } });
  expect(page.status).toBe(200);
  const answer = await fixture.request('/access/remove-token', {
    method: 'POST',
    body: 'name=x',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  });
  expect(answer.status).toBe(403);
});

it('metrics are public where the configuration says so, and nothing else is', async () => {
  const open = await startFixture(undefined, { metricsPublic: true });
  try {
    const statuses = await Promise.all(
      ['/metrics', '/audit', '/queues'].map(
        async (path) => (await fetch(`${open.url}${path}`)).status,
      ),
    );
    expect(statuses).toEqual([200, 401, 401]);
  } finally {
    await open.close();
  }
});
