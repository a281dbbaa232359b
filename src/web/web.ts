/** The web role: serves the application on a port and writes heartbeats. */
import { createAdaptorServer } from '@hono/node-server';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Server } from 'node:http';
import { hostname } from 'node:os';
import { removeHeartbeat, writeHeartbeat } from '../db/heartbeats.ts';
import type { Heartbeat, KnownKeys } from '../db/heartbeats.ts';
import { closeReadOnlySessions } from '../db/read-only-sessions.ts';
import { exitCodes, messageOf, PurserError } from '../errors.ts';
import { startLoop } from '../process/loop.ts';
import type { StallWatchdog } from '../process/stall-watchdog.ts';
import { createWebApp } from './app.ts';
import type { WebAppOptions } from './app.ts';

export interface WebOptions extends WebAppOptions {
  /** Default: all interfaces, as a platform's router expects. */
  readonly host?: string;
  /** For the heartbeat. */
  readonly keys?: KnownKeys | undefined;
  /** 0 chooses a free port. */
  readonly port: number;
  /** Receives progress after every heartbeat, written or failed. */
  readonly watchdog?: Pick<StallWatchdog, 'expect'> | undefined;
}

export interface WebService {
  readonly port: number;
  /** Accepts no new request, lets open ones end (at most 3 s) and removes the heartbeat. */
  stop(): Promise<void>;
}

const heartbeatMs = 2_000;
const closeGraceMs = 3_000;

/** Throws `port_unavailable` (exit 69) when it cannot listen. */
export async function startWeb(options: WebOptions): Promise<WebService> {
  const host = hostname();
  const processId =
    options.processId ?? `web-${host}-${process.pid}-${randomBytes(4).toString('hex')}`;
  const sql = options.database.system;
  const server = createAdaptorServer({
    fetch: createWebApp({ ...options, processId }).fetch,
    serverOptions: { requestTimeout: 30_000, headersTimeout: 10_000 },
  });
  if (!(server instanceof Server)) throw new Error('the adaptor made no HTTP/1 server');
  const port = await listen(server, options);
  const startedAt = Date.now();
  const heartbeat = startLoop({
    name: 'heartbeat',
    everyMs: heartbeatMs,
    log: options.log,
    watchdog: options.watchdog,
    onFailure: (error) => closeReadOnlySessions([sql], error),
    runOnce: async () => {
      const metrics = await options.metrics.registry.getMetricsAsJSON();
      const beat: Heartbeat = {
        processId,
        role: 'web',
        ...options.keys,
        version: options.version,
        hostname: host,
        pid: process.pid,
        jobTypes: [],
        typeSlots: [],
        slots: 0,
        running: 0,
        progressedAt: new Date(),
        metrics,
      };
      await writeHeartbeat(sql, beat);
      return 0;
    },
  });
  options.log.info({ port, backend: options.backend.kind }, 'web_started');
  return {
    port,
    stop: async () => {
      await close(server);
      await heartbeat.stop();
      await removeHeartbeat(sql, processId).catch((error: unknown) => {
        // While Postgres is unreachable the row stays until the sweep removes it.
        options.log.warn({ error }, 'heartbeat_not_removed');
      });
      options.log.info({ servedMs: Date.now() - startedAt }, 'web_stopped');
    },
  };
}

async function listen(server: Server, { host, port }: WebOptions): Promise<number> {
  try {
    server.listen({ port, ...(host === undefined ? {} : { host }) });
    await once(server, 'listening');
  } catch (error) {
    throw new PurserError(
      'port_unavailable',
      `cannot listen on port ${port}: ${messageOf(error)}; set PORT to a free port`,
      { cause: error, exitCode: exitCodes.unavailable },
    );
  }
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : port;
}

async function close(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), closeGraceMs);
  await closed;
  clearTimeout(timer);
}
