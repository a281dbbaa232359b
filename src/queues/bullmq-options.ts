/** BullMQ's options for every queue and worker, whatever the store. */
import type { QueueOptions, WorkerOptions } from 'bullmq';

const keepNone = { count: 0 };
const usualLeaseMs = 15_000;

/**
 * A finished entry is removed: its end says that a worker is done with it, not how its jobs ended. Attempts and retries
 * are in Postgres.
 */
export const defaultJobOptions = {
  attempts: 1,
  removeOnComplete: keepNone,
  removeOnFail: keepNone,
} satisfies QueueOptions['defaultJobOptions'];

/** BullMQ needs two checks to find an expired lock. */
export const workerDefaults = (leaseMs = usualLeaseMs) =>
  ({
    autorun: false,
    removeOnComplete: keepNone,
    removeOnFail: keepNone,
    lockDuration: Math.ceil((leaseMs * 2) / 3),
    stalledInterval: Math.ceil(leaseMs / 6),
    // Purser sets no limit in a queue; the end of another tool's is noticed within this time.
    maximumRateLimitDelay: 5_000,
  }) satisfies Partial<WorkerOptions>;

/**
 * What an idle queue on Redis costs is how often each worker does these two. The sweep returns jobs that a dead worker's
 * entry holds (transport.findLost) once they have been queued for 10 s, so BullMQ's own check is left what it does for
 * tidiness; a lease that is shorter than usual keeps it as it is. A worker looks without being woken only where another
 * died between its wake-up and its look, or its own connection is dead: within a lease, as for all that a worker leaves.
 */
export const quietWorkers = (leaseMs = usualLeaseMs): Partial<WorkerOptions> => ({
  ...(leaseMs < usualLeaseMs ? {} : { stalledInterval: 2 * leaseMs }),
  drainDelay: Math.max(5, leaseMs / 1_000),
});

/** BullMQ takes advisory locks, which SQL of a tenant can hold: a command fails, and the sweep ends the session. */
export const queueSession = {
  search_path: 'bullmq',
  idle_in_transaction_session_timeout: '20s',
  lock_timeout: '8s',
};
