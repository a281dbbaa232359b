/** The web role: serves the application on a port and writes heartbeats. */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { removeHeartbeat, writeHeartbeat } from '../db/heartbeats.ts';
import type { Heartbeat, KnownKeys } from '../db/heartbeats.ts';
import { closeReadOnlySessions } from '../db/read-only-sessions.ts';
import { startLoop } from '../process/loop.ts';
import type { StallWatchdog } from '../process/stall-watchdog.ts';
import { createWebApp } from './app.ts';
import type { WebAppOptions } from './app.ts';
import { openDoor } from './door.ts';
import type { Door } from './door.ts';

export interface WebOptions extends WebAppOptions {
  /** Default: all interfaces, as a platform's router expects. */
  readonly host?: string;
  /** Open already; closed by the web role when it stops. Default: it listens on `port`. */
  readonly door?: Door | undefined;
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

/** Throws `port_unavailable` (exit 69) when it cannot listen. */
export async function startWeb(options: WebOptions): Promise<WebService> {
  const host = hostname();
  const processId =
    options.processId ?? `web-${host}-${process.pid}-${randomBytes(4).toString('hex')}`;
  const sql = options.database.system;
  const door = options.door ?? (await openDoor(options));
  const stopping = new AbortController();
  door.serve(createWebApp({ ...options, processId, stopping: stopping.signal }).fetch);
  const { port } = door;
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
      stopping.abort();
      await door.close();
      await heartbeat.stop();
      await removeHeartbeat(sql, processId).catch((error: unknown) => {
        // While Postgres is unreachable the row stays until the sweep removes it.
        options.log.warn({ error }, 'heartbeat_not_removed');
      });
      options.log.info({ servedMs: Date.now() - startedAt }, 'web_stopped');
    },
  };
}
