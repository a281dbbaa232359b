/**
 * The worker role: it takes queue entries of every job type that it has a handler for, runs their jobs and renews the
 * leases. When it stops, jobs may finish within the grace; the others are handed back without counting the attempt.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'bullmq';
import type { Database } from '../db/database.ts';
import { queueStoreSight, removeHeartbeat } from '../db/heartbeats.ts';
import type { DrainRequest, ProcessFacts } from '../db/heartbeats.ts';
import { closeReadOnlySessions } from '../db/read-only-sessions.ts';
import type { Logger } from '../log.ts';
import { startLoop } from '../process/loop.ts';
import type { Metrics } from '../metrics.ts';
import type { Entry, QueueBackend } from '../queues/backend.ts';
import type { Transport } from '../queues/transport.ts';
import type { StallWatchdog } from '../process/stall-watchdog.ts';
import { createBatches } from './batches/attempt-batches.ts';
import { drainReport, slotsOfType, writeWorkerHeartbeat } from './heartbeat.ts';
import { handBack } from './hand-back.ts';
import type { Executors } from './executors/executors.ts';
import type { JobTypeFacts } from './executors/protocol.ts';
import { abortUnrenewed, keepLeases, storeHandlerOutput } from './leases.ts';
import { watchQueues } from './queue-watch.ts';
import type { QueueWatchTiming } from './queue-watch.ts';
import { begunAheadOf, Intake } from './intake.ts';
import { RunningJobs } from './running-jobs.ts';
import { takeEntry } from './take-entry.ts';

export interface WorkerServiceOptions {
  readonly database: Database;
  readonly backend: QueueBackend;
  readonly transport: Pick<Transport, 'queue'>;
  /** Open already; closed by the worker when it stops. */
  readonly executors: Executors;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly leaseMs: number;
  /** How long a handler may take to stop after its signal aborted. */
  readonly graceMs: number;
  /** Jobs that run at once in this process, of all types together. */
  readonly concurrency: number;
  /** Jobs of a short type that may have begun before they can run. Default 0. */
  readonly begunAhead?: number;
  /** How long a job may wait for its slot. Default 1,000. */
  readonly slotWaitMs?: number | undefined;
  /** The same for a job that has begun ahead. Default 5,000. */
  readonly recallMs?: number | undefined;
  /** Time that running jobs get to finish after a request to stop. */
  readonly shutdownGraceMs: number;
  readonly process: ProcessFacts;
  /** Receives progress after every round of a loop and every entry that was taken. */
  readonly watchdog?: Pick<StallWatchdog, 'expect'> | undefined;
  readonly queueWatch?: QueueWatchTiming | undefined;
  /** Default 2,000. */
  readonly heartbeatEveryMs?: number | undefined;
  /** A thread cannot be terminated: the worker has to stop, and its process to end by SIGKILL. */
  readonly onThreadStuck: (text: string) => void;
}

export interface WorkerService {
  /** Takes no more entries, waits for running jobs, hands the others back, and closes the executors. */
  stop(): Promise<void>;
}

export function startWorker(options: WorkerServiceOptions): WorkerService {
  const {
    backend,
    log,
    database,
    leaseMs,
    executors,
    concurrency,
    metrics,
    watchdog,
    begunAhead = 0,
  } = options;
  const workerId = options.process.processId;
  const running = new RunningJobs();
  const lease = { database, running, workerId, leaseMs, log };
  const batches = createBatches({ sql: database.system, workerId, leaseMs, log });
  executors.listen({
    report: (token, report) => {
      metrics.rlsEnforcementFailed.inc(report.refusals);
      metrics.decryptionFailed.inc(report.decryptionFailures);
      running.report(token, report);
    },
    threadStuck: (text) => {
      log.fatal({ text }, 'thread_stuck');
      options.onThreadStuck(text);
    },
  });
  const types = [...executors.jobTypes.values()];
  const typeSlots = (facts: JobTypeFacts): number => slotsOfType(concurrency, facts);
  const intake = new Intake({
    concurrency,
    limits: new Map(types.map((facts) => [facts.type, typeSlots(facts)])),
    recallMs: options.recallMs,
    aheadOf: (jobType) => {
      const facts = executors.jobTypes.get(jobType);
      return facts === undefined || facts.isolation === 'exclusive'
        ? 0
        : begunAheadOf(executors.runTimes.of(jobType), typeSlots(facts), begunAhead);
    },
    pause: (jobType) => void pause(workersOf(jobType)),
    resume: (jobType) => void Promise.all(workersOf(jobType).map((worker) => worker.resume())),
  });
  const typeRunning = (type: string): number =>
    running.list().filter(({ attempt }) => attempt.jobType === type).length;
  const watch =
    watchdog === undefined
      ? undefined
      : watchQueues({
          database,
          backend,
          transport: options.transport,
          watchdog,
          log,
          jobTypes: types.map(({ type }) => type),
          hasFreeSlot: (type) => {
            const facts = executors.jobTypes.get(type);
            return (
              !intake.isDraining &&
              intake.free > 0 &&
              facts !== undefined &&
              typeRunning(type) < typeSlots(facts)
            );
          },
          timing: options.queueWatch,
        });
  const sql = database.system;
  const taking = {
    batches,
    executors,
    intake,
    running,
    log,
    metrics,
    leaseMs,
    sql,
    waitMs: options.slotWaitMs,
  };
  const take = (jobType: string, entry: Entry) => {
    watch?.entryTaken(jobType);
    return takeEntry(taking, jobType, entry);
  };
  const workers: readonly Worker<Entry>[] = types.map((facts) =>
    backend.worker(facts.type, (entry) => take(facts.type, entry.data), {
      concurrency: typeSlots(facts),
    }),
  );
  const workersOf = (jobType: string) => workers.filter(({ name }) => name === jobType);
  let progressedAt = new Date();
  let drainRequested: DrainRequest | null = null;
  const onFailure = (error: unknown) =>
    closeReadOnlySessions([database.system, database.leases], error);
  const leases = startLoop({
    name: 'leases',
    everyMs: Math.max(50, Math.floor(leaseMs / 5)),
    maxBackoffMs: leaseMs / 5,
    log,
    watchdog,
    onFailure,
    runOnce: async () => {
      await keepLeases(lease);
      return 0;
    },
  });
  const handlerOutput = startLoop({
    name: 'handler output',
    everyMs: Math.max(50, Math.floor(leaseMs / 5)),
    log,
    watchdog,
    onFailure,
    runOnce: async () => {
      await storeHandlerOutput(lease);
      return 0;
    },
  });
  const leaseTimer = setInterval(() => abortUnrenewed(lease), Math.max(20, leaseMs / 20));
  const sawQueueStore = queueStoreSight(database.system, workerId);
  const heartbeats = startLoop({
    name: 'heartbeat',
    everyMs: options.heartbeatEveryMs ?? 2_000,
    log,
    watchdog,
    onFailure,
    runOnce: async () => {
      try {
        await backend.ping();
      } catch (error) {
        await sawQueueStore(true);
        throw error;
      }
      await sawQueueStore(false);
      progressedAt = new Date();
      const drain = drainReport(drainRequested, intake, running);
      const progress = { running: concurrency - intake.free, progressedAt, drain };
      const written = await writeWorkerHeartbeat(database.system, options, progress);
      void backend.userMark?.write(written.mark);
      if ((drainRequested === null) !== (written.drainRequested === null)) {
        log.info(
          written.drainRequested ?? {},
          drainRequested === null ? 'draining' : 'taking_jobs_again',
        );
      }
      drainRequested = written.drainRequested;
      intake.drain(drainRequested !== null);
      return 0;
    },
  });
  for (const worker of workers) {
    worker.run().catch((error: unknown) => log.error({ error }, 'queue_worker_ended'));
  }
  const jobTypes = types.map(({ type }) => type);
  log.info({ jobTypes, concurrency, backend: backend.kind }, 'worker_started');
  return {
    stop: async () => {
      intake.close();
      executors.recall();
      await watch?.stop();
      await pause(workers);
      const idle = await running.untilIdle(options.shutdownGraceMs);
      if (!idle) await handBack({ database, running, log, graceMs: options.graceMs });
      clearInterval(leaseTimer);
      await Promise.all([leases.stop(), handlerOutput.stop(), heartbeats.stop()]);
      await storeHandlerOutput(lease);
      // close() can wait without limit; the caller ends the connections.
      await Promise.race([Promise.all(workers.map((worker) => worker.close())), sleep(2_000)]);
      await executors.close();
      await backend.userMark?.remove(workerId);
      await removeHeartbeat(database.system, workerId);
    },
  };
}

/** While the queue store is unavailable a pause may never be answered; no entries arrive from it either. */
async function pause(workers: readonly Worker<Entry>[]): Promise<void> {
  await Promise.race([Promise.all(workers.map((worker) => worker.pause(true))), sleep(2_000)]);
}
