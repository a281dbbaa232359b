/**
 * Keeping what runs: leases are renewed and operators' wishes obeyed, on a connection that waits for nobody else;
 * a handler whose lease is gone, or about to be, is told to stop. What handlers said is stored beside that.
 */
import type { Database } from '../db/database.ts';
import { PurserError } from '../errors.ts';
import { renewLeases, storeProgress } from '../jobs/leases.ts';
import { listCancelRequests } from '../jobs/cancel.ts';
import { storeLogLines } from '../jobs/log-lines.ts';
import type { Logger } from '../log.ts';
import type { RunningJobs } from './running-jobs.ts';

export interface LeaseOptions {
  readonly database: Pick<Database, 'system' | 'leases'>;
  readonly running: RunningJobs;
  readonly workerId: string;
  readonly leaseMs: number;
  readonly log: Logger;
}

/** Renews all leases; an attempt whose lease is gone has been taken over, so its handler is told to stop. */
export async function keepLeases(options: LeaseOptions): Promise<void> {
  const { running, workerId, leaseMs, log } = options;
  const { leases } = options.database;
  const jobs = running.list();
  if (jobs.length > 0) {
    const askedAtMs = performance.now();
    const tokens = jobs.map(({ attempt }) => attempt.token);
    const kept = await renewLeases(leases, workerId, tokens, leaseMs);
    const still = new Set(running.list());
    for (const job of jobs) {
      const { jobId, token } = job.attempt;
      const lease = kept.get(token);
      if (lease === 'renewed') job.leasedUntilMs = askedAtMs + leaseMs;
      else if (lease === undefined && still.has(job)) {
        job.controller.abort(lost(`the lease of job ${jobId} passed to another attempt`));
      }
    }
    const wishes = await listCancelRequests(leases, tokens);
    for (const { attempt, controller } of jobs) {
      const wish = wishes.get(attempt.token);
      if (wish === undefined || controller.signal.aborted) continue;
      log.info({ jobId: attempt.jobId, ...wish }, 'job_cancelling');
      const details = { class: 'cancel', ...wish };
      controller.abort(
        new PurserError('job_cancelled', `cancelled by ${wish.by}: ${wish.reason}`, { details }),
      );
    }
  }
}

/** Stores what handlers said since the last time. What is not stored for a fault is lost, and logged. */
export async function storeHandlerOutput({ database, running, log }: LeaseOptions): Promise<void> {
  const { progress, logs } = running.takeOutput();
  try {
    if (progress.length > 0) await storeProgress(database.system, progress);
    if (logs.length > 0) await storeLogLines(database.system, logs);
  } catch (error) {
    log.warn({ error, lines: logs.length }, 'said_not_stored');
  }
}

/**
 * While leases cannot be renewed (the database is away, or swallows what it is told), handlers are told to
 * stop before another worker may begin their jobs.
 */
export function abortUnrenewed({ running, leaseMs, log }: LeaseOptions): void {
  const latestMs = performance.now() + leaseMs / 5;
  for (const { attempt, controller, leasedUntilMs } of running.list()) {
    if (leasedUntilMs > latestMs || controller.signal.aborted) continue;
    log.warn({ jobId: attempt.jobId }, 'lease_not_renewed');
    controller.abort(lost(`the lease of job ${attempt.jobId} could not be renewed in time`));
  }
}

/** Should the end of such an attempt still be accepted, the handler is not to blame. */
const lost = (text: string): PurserError =>
  new PurserError('lease_lost', text, { details: { class: 'hand_back' } });
