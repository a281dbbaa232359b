/**
 * The web role's application: health and the login page are public, everything else asks for a role, and a guard in front
 * of Bull Board refuses changes to the queues.
 */
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { Database } from '../db/database.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { QueueBackend } from '../queues/backend.ts';
import type { Transport } from '../queues/transport.ts';
import { authenticate } from './access/authenticate.ts';
import { cachePolicy, requireSameOrigin, securityHeaders } from './access/browser-rules.ts';
import type { Credentials } from './access/environment-login.ts';
import { createLogIn } from './access/log-in.ts';
import type { LoginPaces } from './access/login-limits.ts';
import { assertRuled, forEverybody, requireRole } from './access/route-rules.ts';
import { apiBase, createApi, refusePath } from './api/api.ts';
import { apiPath } from './api/problems.ts';
import { createBullBoardGuard } from './bull-board/guard.ts';
import { createBullBoardApp } from './bull-board/bull-board.ts';
import { assetsPath, createAssets } from './console/assets.ts';
import { createConsole, createPublicPages, revisit } from './console/console.tsx';
import { answerError, answerFault } from './console/faults.tsx';
import type { LivePaces } from './console/live.ts';
import { knownJobTypes } from './known-job-types.ts';
import { createMetricsPage } from './metrics-page.ts';
import type { PayloadDoor } from './payload-door.ts';
import { createReadiness } from './readiness.ts';
import { createFleetStatus } from './status.ts';
import type { WebEnv } from './web-env.ts';

export interface WebAppOptions {
  readonly database: Database;
  readonly backend: QueueBackend;
  readonly transport: Transport;
  /** Registered job types: one queue each. */
  readonly jobTypes: () => Promise<readonly string[]>;
  readonly credentials: Credentials;
  readonly payloads: PayloadDoor;
  /** Addresses and networks of proxies whose X-Forwarded-For is read. Default none. */
  readonly trustedProxies?: readonly string[] | undefined;
  /** Default: as docs/security.md says. */
  readonly loginPaces?: LoginPaces | undefined;
  /** Whether /metrics needs no login. Default false. */
  readonly metricsPublic?: boolean | undefined;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly version: string;
  /** Due jobs may stand still for this long before the fleet counts as stalled. Default 60 s. */
  readonly stalledAfterMs?: number | undefined;
  /** Streams of live pages end when the process stops. */
  readonly stopping?: AbortSignal | undefined;
  readonly livePaces?: LivePaces | undefined;
  /** Names this process in its metrics. Default: `web-PID`. */
  readonly processId?: string;
}

const bullBoardPath = '/queues';
const maxBodyBytes = 65_536;

export function createWebApp(options: WebAppOptions): Hono<WebEnv> {
  const { log, transport, credentials, database, livePaces } = options;
  const sql = database.system;
  const app = new Hono<WebEnv>();
  app.onError((error, c) => answerError(c, error, log));
  app.notFound((c) =>
    apiPath.test(c.req.path)
      ? refusePath(c)
      : answerFault(c, { error: 'not_found', message: 'page not found', status: 404 }),
  );
  const pageBodies = bodyLimit({ maxSize: maxBodyBytes });

  app.use(
    securityHeaders(bullBoardPath),
    cachePolicy(`${bullBoardPath}/static/`, `${assetsPath}/`),
    // The API has its own limit, behind the login.
    (c, next) => (apiPath.test(c.req.path) ? next() : pageBodies(c, next)),
  );
  app.get('/healthz', forEverybody(), (c) => c.json({ alive: true }));
  const readiness = createReadiness(options);
  app.get('/readyz', forEverybody(), async (c) => {
    const found = await readiness();
    return c.json(found, found.ready ? 200 : 503);
  });
  const jobTypes = knownJobTypes(options.jobTypes, log);
  const fleetStatus = createFleetStatus({ ...options, jobTypes });
  app.get('/status', forEverybody(), async (c) => {
    const status = await fleetStatus();
    return c.json(status, status.working ? 200 : 503);
  });
  const metricsPage = createMetricsPage({
    ...options,
    jobTypes,
    processId: options.processId ?? `web-${process.pid}`,
  });
  const metrics = new Hono<WebEnv>().get('/', async (c) => {
    const { text, contentType } = await metricsPage();
    return c.body(text, 200, { 'Content-Type': contentType });
  });
  if (options.metricsPublic === true) {
    app.use('/metrics/*', forEverybody());
    app.route('/metrics', metrics);
  }
  const logIn = createLogIn({ ...options, sql, trustedProxies: options.trustedProxies ?? [] });
  app.route('/', createAssets());
  app.route('/', createPublicPages({ ...options, sql, logIn }));

  app.use(authenticate({ sql, credentials, logIn, revisit }), requireSameOrigin());
  if (options.metricsPublic !== true) {
    app.use('/metrics/*', requireRole('viewer'));
    app.route('/metrics', metrics);
  }
  app.route('/', createConsole({ ...options, logIn, paces: livePaces }));
  app.route(apiBase, createApi({ database, payloads: options.payloads }));
  app.use(`${bullBoardPath}/*`, requireRole('viewer'));
  app.route(bullBoardPath, createBullBoardGuard(bullBoardPath));
  app.route(bullBoardPath, createBullBoardApp({ sql, transport, jobTypes, log }, bullBoardPath));
  assertRuled(app);
  return app;
}
