/**
 * The worker role: takes entries of every job type that it has a handler for, runs them, keeps their
 * leases, and on the way out lets work finish inside the grace and hands the rest back uncounted.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { writeHeartbeat, removeHeartbeat } from '../db/heartbeats.ts';
import type { Heartbeat } from '../db/heartbeats.ts';
import { PurserError } from '../errors.ts';
import { finishAttempts, renewLeases, storeProgress } from '../jobs/attempts.ts';
import type { AttemptEnd } from '../jobs/attempts.ts';
import { returnLostEntries } from '../jobs/dispatch.ts';
import { startLoop } from '../loop.ts';
import type { QueueBackend } from '../queues/backend.ts';
import { executeEntry } from './execute.ts';
import type { ExecuteOptions } from './execute.ts';

export interface WorkerServiceOptions extends ExecuteOptions {
  readonly backend: QueueBackend;
  /** Jobs of one type that run at once in this process. */
  readonly concurrency: number;
  /** Time that running jobs get to finish after a request to stop. */
  readonly shutdownGraceMs: number;
  readonly process: Pick<Heartbeat, 'processId' | 'version' | 'hostname' | 'pid'>;
}

export interface WorkerService {
  /** Stops taking, waits, hands back, leaves. */
  stop(): Promise<void>;
}

/** The attempt-free end of a job that the worker gives up because it is leaving. */
const handedBack: AttemptEnd = {
  toState: 'pending',
  countsAttempt: false,
  scheduledFor: new Date(0),
  detail: { reason: 'handed back: the worker is leaving' },
};

export async function startWorker(options: WorkerServiceOptions): Promise<WorkerService> {
  const { backend, log, running, registry, database, leaseMs } = options;
  let leaving = false;
  const workers = [...registry.keys()].map((jobType) =>
    backend.worker(
      jobType,
      async (entry) => {
        // BullMQ may still hand over what it was fetching when it was told to pause.
        if (leaving) {
          await returnLostEntries(database.system, [entry.data]);
          return { state: 'worker is leaving' };
        }
        const { end } = await executeEntry(options, entry.data);
        if (end === undefined) return { state: 'stale entry' };
        // Bull Board shows an attempt that failed as failed; BullMQ itself retries nothing (attempts: 1).
        if (end.toState === 'failed' || end.toState === 'dead_letter') {
          const failure = new Error(`${end.error?.code ?? 'error'} (job ${entry.data.jobId})`);
          // The board would show the stack, which says only where this line stands.
          delete failure.stack;
          throw failure;
        }
        return { state: end.toState };
      },
      { concurrency: options.concurrency },
    ),
  );
  let progressedAt = new Date();
  const beat = async (): Promise<void> => {
    await writeHeartbeat(database.system, {
      ...options.process,
      role: 'worker',
      jobTypes: [...registry.keys()],
      slots: options.concurrency,
      running: running.size,
      progressedAt,
      metrics: await options.metrics.registry.getMetricsAsJSON(),
    });
  };
  const leases = startLoop({
    name: 'leases',
    everyMs: Math.max(50, Math.floor(leaseMs / 5)),
    log,
    runOnce: async () => {
      await keepLeases(options);
      return 0;
    },
  });
  const leaseWatch = setInterval(() => abortUnrenewed(options), Math.max(20, leaseMs / 20));
  const beats = startLoop({
    name: 'heartbeat',
    everyMs: 2_000,
    log,
    runOnce: async () => {
      await backend.ping();
      progressedAt = new Date();
      await beat();
      return 0;
    },
  });
  await beat();
  for (const worker of workers) {
    worker.run().catch((error: unknown) => log.error({ error }, 'queue_worker_ended'));
  }
  log.info(
    { jobTypes: [...registry.keys()], concurrency: options.concurrency, backend: backend.kind },
    'worker_started',
  );
  return {
    stop: async () => {
      leaving = true;
      // With the queue store away a pause may never be answered; nothing new arrives from there either.
      await Promise.race([Promise.all(workers.map((worker) => worker.pause(true))), sleep(2_000)]);
      const idle = await running.untilIdle(options.shutdownGraceMs);
      if (!idle) await handBack(options);
      clearInterval(leaseWatch);
      await Promise.all([leases.stop(), beats.stop()]);
      await Promise.race([
        Promise.all(workers.map((worker) => worker.close())),
        // A second close(true) would only wait for the first; the caller ends the connections.
        sleep(2_000),
      ]);
      await removeHeartbeat(database.system, options.process.processId);
    },
  };
}

/** Should the end of such an attempt still be accepted, the handler is not to blame. */
const uncounted = { class: 'snooze', retryAfterMs: 1_000 };

/** Renews all leases; an attempt whose lease is gone has been taken over, so its handler is told to stop. */
async function keepLeases(options: WorkerServiceOptions): Promise<void> {
  const jobs = options.running.list();
  if (jobs.length === 0) return;
  const reports = options.running.takeProgress();
  if (reports.length > 0) await storeProgress(options.database.system, reports);
  const askedAtMs = performance.now();
  const kept = await renewLeases(
    options.database.system,
    options.workerId,
    jobs.map(({ token }) => token),
    options.leaseMs,
  );
  const still = new Set(options.running.list().map(({ token }) => token));
  for (const job of jobs) {
    if (kept.has(job.token)) job.leasedUntilMs = askedAtMs + options.leaseMs;
    else if (still.has(job.token)) {
      job.controller.abort(
        new PurserError('lease_lost', `the lease of job ${job.jobId} passed to another attempt`, {
          details: uncounted,
        }),
      );
    }
  }
}

/**
 * While leases cannot be renewed (the database is away, or swallows what it is told), handlers are told to
 * stop before another worker may begin their jobs.
 */
function abortUnrenewed({ running, leaseMs, log }: WorkerServiceOptions): void {
  const latestMs = performance.now() + leaseMs / 5;
  for (const job of running.list()) {
    if (job.leasedUntilMs > latestMs || job.controller.signal.aborted) continue;
    log.warn({ jobId: job.jobId }, 'lease_not_renewed');
    job.controller.abort(
      new PurserError('lease_lost', `the lease of job ${job.jobId} could not be renewed in time`, {
        details: uncounted,
      }),
    );
  }
}

async function handBack(options: WorkerServiceOptions): Promise<void> {
  const jobs = options.running.list();
  options.log.warn({ jobs: jobs.map(({ jobId }) => jobId) }, 'handing_back');
  const end = { ...handedBack, scheduledFor: new Date() };
  await finishAttempts(
    options.database.system,
    jobs.map(({ jobId, token }) => ({ jobId, token, end })),
  );
  for (const job of jobs) {
    job.controller.abort(new PurserError('worker_leaving', 'the worker is leaving'));
  }
  await options.running.untilIdle(options.graceMs + 500);
}
