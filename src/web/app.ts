/**
 * The web role's application: health and readiness are public, everything else needs a login, and a guard
 * in front of Bull Board refuses changes to the queues.
 */
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { HTTPException } from 'hono/http-exception';
import type { Database } from '../db/database.ts';
import { PurserError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { QueueBackend } from '../queues/backend.ts';
import type { Transport } from '../queues/transport.ts';
import { createBullBoardGuard } from './bull-board/guard.ts';
import { createBullBoardApp } from './bull-board/bull-board.ts';
import { cachePolicy, requireSameOrigin, securityHeaders } from './browser-rules.ts';
import { knownJobTypes } from './known-job-types.ts';
import { requireLogin } from './login.ts';
import type { Credentials } from './login.ts';
import { createMetricsPage } from './metrics-page.ts';
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
  /** Addresses and networks of proxies whose X-Forwarded-For is read. Default none. */
  readonly trustedProxies?: readonly string[] | undefined;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly version: string;
  /** Due jobs may stand still for this long before the fleet counts as stalled. Default 60 s. */
  readonly stalledAfterMs?: number | undefined;
  /** Names this process in its metrics. Default: `web-PID`. */
  readonly processId?: string;
}

const bullBoardPath = '/queues';
const maxBodyBytes = 65_536;

export function createWebApp(options: WebAppOptions): Hono<WebEnv> {
  const { log, transport } = options;
  const app = new Hono<WebEnv>();
  app.onError((error, c) => {
    if (error instanceof HTTPException) return error.getResponse();
    if (error instanceof PurserError && error.status !== undefined) {
      return Response.json({ error: error.code, message: error.message }, { status: error.status });
    }
    log.error({ error, method: c.req.method, path: c.req.path }, 'request_failed');
    return c.json({ error: 'internal', message: 'see the log of the web process' }, 500);
  });
  app.notFound((c) => c.json({ error: 'not_found', message: 'page not found' }, 404));

  app.use(securityHeaders(), cachePolicy(`${bullBoardPath}/static/`));
  app.get('/healthz', (c) => c.json({ alive: true }));
  const readiness = createReadiness(options);
  app.get('/readyz', async (c) => {
    const found = await readiness();
    return c.json(found, found.ready ? 200 : 503);
  });
  const jobTypes = knownJobTypes(options.jobTypes, log);
  const fleetStatus = createFleetStatus({ ...options, jobTypes });
  app.get('/status', async (c) => {
    const status = await fleetStatus();
    return c.json(status, status.working ? 200 : 503);
  });

  app.use(
    requireLogin(options.credentials, options.trustedProxies ?? [], log),
    requireSameOrigin(),
  );
  app.use(bodyLimit({ maxSize: maxBodyBytes }));
  const metricsPage = createMetricsPage({
    ...options,
    jobTypes,
    processId: options.processId ?? `web-${process.pid}`,
  });
  app.get('/metrics', async (c) => {
    const { text, contentType } = await metricsPage();
    return c.body(text, 200, { 'Content-Type': contentType });
  });
  app.get('/', (c) => c.redirect(bullBoardPath));
  app.route(bullBoardPath, createBullBoardGuard(options, bullBoardPath));
  app.route(bullBoardPath, createBullBoardApp({ transport, jobTypes }, bullBoardPath));
  return app;
}
