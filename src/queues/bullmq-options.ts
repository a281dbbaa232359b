/** BullMQ's options for every queue and worker, whatever the store. */
import type { QueueOptions, WorkerOptions } from 'bullmq';

const keepCompleted = { count: 100 };
const keepFailed = { count: 500 };

/** Finished entries are kept for Bull Board only; attempts and retries are in Postgres. */
export const defaultJobOptions = {
  attempts: 1,
  removeOnComplete: keepCompleted,
  removeOnFail: keepFailed,
} satisfies QueueOptions['defaultJobOptions'];

/** BullMQ needs two checks to find an expired lock. */
export const workerDefaults = (leaseMs = 15_000) =>
  ({
    autorun: false,
    removeOnComplete: keepCompleted,
    removeOnFail: keepFailed,
    lockDuration: Math.ceil((leaseMs * 2) / 3),
    stalledInterval: Math.ceil(leaseMs / 6),
    // Purser sets no limit in a queue; the end of another tool's is noticed within this time.
    maximumRateLimitDelay: 5_000,
  }) satisfies Partial<WorkerOptions>;

/** BullMQ takes advisory locks, which SQL of a tenant can hold: a command fails, and the sweep ends the session. */
export const queueSession = {
  search_path: 'bullmq',
  idle_in_transaction_session_timeout: '20s',
  lock_timeout: '8s',
};
