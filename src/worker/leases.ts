/**
 * Renews the leases of running attempts and carries out cancel requests and stops, on a separate connection. A handler whose
 * lease is lost or about to expire is aborted. Progress and log lines are stored separately.
 */
import type { Database } from '../db/database.ts';
import { PurserError } from '../errors.ts';
import { renewLeases, storeProgress } from '../jobs/leases.ts';
import { listEndRequests } from '../jobs/cancel.ts';
import type { EndRequest } from '../jobs/cancel.ts';
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

/** Renews all leases; an attempt whose lease is missing has been replaced, so its handler is aborted. */
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
        job.abort.abort(lost(`the lease of job ${jobId} passed to another attempt`));
      }
    }
    const requests = await listEndRequests(leases, tokens);
    for (const { attempt, abort } of jobs) {
      const request = requests.get(attempt.token);
      if (request === undefined || abort.aborted) continue;
      const { wish, ...record } = request;
      log.info(
        { jobId: attempt.jobId, ...record },
        wish === 'cancel' ? 'job_cancelling' : 'job_stopping',
      );
      abort.abort(abortOf(request));
    }
  }
}

/** A stopped attempt is not counted, and its job waits again. */
function abortOf({ wish, by, reason }: EndRequest): PurserError {
  return wish === 'cancel'
    ? new PurserError('job_cancelled', `cancelled by ${by}: ${reason}`, {
        details: { class: 'cancel', by, reason },
      })
    : new PurserError('job_stopped', `stopped by ${by}: ${reason}`, {
        details: { class: 'hand_back' },
      });
}

/** Stores progress and log lines of handlers. Output that cannot be stored is dropped, with a warning. */
export async function storeHandlerOutput({ database, running, log }: LeaseOptions): Promise<void> {
  const { progress, logs } = running.takeOutput();
  try {
    if (progress.length > 0) await storeProgress(database.system, progress);
    if (logs.length > 0) await storeLogLines(database.system, logs);
  } catch (error) {
    log.warn({ error, lines: logs.length }, 'handler_output_not_stored');
  }
}

/** Aborts handlers whose leases were not renewed in time, before another worker may begin their jobs. */
export function abortUnrenewed({ running, leaseMs, log }: LeaseOptions): void {
  const latestMs = performance.now() + leaseMs / 5;
  for (const { attempt, abort, leasedUntilMs } of running.list()) {
    if (leasedUntilMs > latestMs || abort.aborted) continue;
    log.warn({ jobId: attempt.jobId }, 'lease_not_renewed');
    abort.abort(lost(`the lease of job ${attempt.jobId} could not be renewed in time`));
  }
}

/** If the end of such an attempt is still accepted, the attempt is not counted. */
const lost = (text: string): PurserError =>
  new PurserError('lease_lost', text, { details: { class: 'hand_back' } });
