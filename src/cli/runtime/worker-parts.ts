/**
 * The parts of a worker that start before its role: the executors, which load and run the handlers, and the
 * metrics that executors and role share.
 */
import { randomBytes } from 'node:crypto';
import type { Config } from '../../config.ts';
import { keyringSourceOf, keysOf } from '../../crypto/open-keyring.ts';
import type { Database } from '../../db/database.ts';
import { terminateSessions } from '../../db/tenant-pool.ts';
import type { JobType } from '../../jobs/registration.ts';
import type { Lifecycle } from '../../process/lifecycle.ts';
import { createLlm } from '../../llm/create-llm.ts';
import type { LlmProviderConfig } from '../../llm/create-llm.ts';
import { createLogger } from '../../log.ts';
import { createMetrics } from '../../metrics.ts';
import type { Metrics } from '../../metrics.ts';
import type { DefinedSchedule } from '../../schedules/define.ts';
import { Executors } from '../../worker/executors/executors.ts';
import { spawnProcess, spawnThread } from '../../worker/executors/spawn.ts';
import { thisProcess } from './services.ts';
import { executorConnections } from '../../worker/executors/managed-executor-options.ts';

/** A handler that does not stop within this time after its signal is terminated. */
export const handlerGraceMs = 1_000;

export interface WorkerParts {
  readonly executors: Executors;
  readonly metrics: Metrics;
  /** Of this process as a worker, in heartbeats and leases. */
  readonly identity: ReturnType<typeof thisProcess>;
}

/** Maximum tenant connections of a worker: those of its threads and one of a suspect. Each exclusive job adds one. */
export const workerTenantConnections = (threads: number): number =>
  threads * executorConnections.shared + executorConnections.alone;

/** Starts the executors, which load the handlers. Throws `invalid_handlers` (exit 78). */
export async function openWorkerParts(
  config: Config,
  lifecycle: Lifecycle,
  { database, llm: provider }: { readonly database: Database; readonly llm: LlmProviderConfig },
): Promise<WorkerParts> {
  const metrics = createMetrics();
  const log = createLogger({ level: config.LOG_LEVEL, role: 'worker' });
  const { system, tenantAccess, pooler } = database;
  const keys = await keyringSourceOf(config);
  const executors = await Executors.open({
    setup: {
      handlersModule: config.PURSER_HANDLERS,
      finops: config.PURSER_BUILTINS,
      keys,
      tenantAccess,
      logLevel: config.LOG_LEVEL,
      heapMb: config.WORKER_THREAD_HEAP_MB,
      graceMs: handlerGraceMs,
      silenceMs: (config.PURSER_LEASE_MS * 2) / 3,
    },
    applicationName: `purser worker tenant ${randomBytes(4).toString('hex')}`,
    threads: config.WORKER_THREADS,
    // Waiting suspects occupy worker slots; at least one slot stays free for other jobs where there are two.
    maxWaitingSuspects: Math.max(0, Math.min(3, config.WORKER_CONCURRENCY - 2)),
    llm: createLlm({ provider, budgetSql: system, metrics, log, openKeys: keysOf(keys) }),
    log,
    metrics,
    spawn: { thread: spawnThread, process: spawnProcess },
    // A pooler lends the session to the next client at once; it may be another tenant's by now.
    endSessions: (name) =>
      pooler === 'none' ? terminateSessions(system, name) : Promise.resolve(),
  });
  lifecycle.opened('executors', () => executors.close());
  return { executors, metrics, identity: thisProcess('worker') };
}

/** A job type of PURSER_HANDLERS, with the schedules of its module. */
export type OwnJobType = JobType & { readonly schedules: readonly DefinedSchedule[] };

/** The job types of PURSER_HANDLERS; `migrate` registers the built-in ones. */
export const ownJobTypes = ({ executors }: WorkerParts): readonly OwnJobType[] =>
  [...executors.jobTypes.values()].filter(({ builtin }) => !builtin);
