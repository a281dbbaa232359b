/** Starts the worker for `start` and `demo`; its closing is registered with the lifecycle. */
import type { Queryable } from '../../db/connect.ts';
import { createLogger } from '../../log.ts';
import { watchForStalls } from '../../process/stall-watchdog.ts';
import { writeWorkerHeartbeat } from '../../worker/heartbeat.ts';
import { startWorker } from '../../worker/worker.ts';
import type { RoleContext } from '../runtime/roles.ts';
import { handlerGraceMs } from '../runtime/worker-parts.ts';
import type { WorkerParts } from '../runtime/worker-parts.ts';

/** The first heartbeat, under the identity that `startWorkerRole` is given. */
export async function announceWorker(
  { config, keys }: Pick<RoleContext, 'config' | 'keys'>,
  { executors, metrics, identity }: WorkerParts,
  sql: Queryable,
): Promise<void> {
  await writeWorkerHeartbeat(
    sql,
    {
      executors,
      metrics,
      concurrency: config.WORKER_CONCURRENCY,
      process: { ...identity, ...keys },
    },
    { running: 0, progressedAt: new Date() },
  );
}

export function startWorkerRole(
  context: RoleContext,
  { executors, metrics, identity }: WorkerParts,
  shutdownGraceMs = 20_000,
): void {
  const { config, database, queues, lifecycle } = context;
  const log = createLogger({ level: config.LOG_LEVEL, role: 'worker' });
  const service = startWorker({
    database,
    executors,
    ...queues,
    log,
    watchdog: watchForStalls(lifecycle, log),
    metrics,
    leaseMs: config.PURSER_LEASE_MS,
    graceMs: handlerGraceMs,
    concurrency: config.WORKER_CONCURRENCY,
    begunAhead: config.WORKER_BEGUN_AHEAD,
    shutdownGraceMs,
    process: { ...identity, ...context.keys },
    onThreadStuck: (text) => lifecycle.requestStop(`a thread is stuck: ${text}`, { byForce: true }),
  });
  lifecycle.opened('worker', () => service.stop());
}
