/**
 * The end of a shutdown's grace: every handler that still runs is aborted, and its job becomes pending again
 * without counting the attempt.
 */
import type { Database } from '../db/database.ts';
import { PurserError } from '../errors.ts';
import { finishAttempts } from '../jobs/attempts.ts';
import type { Logger } from '../log.ts';
import { handedBack } from './classify.ts';
import type { RunningJobs } from './running-jobs.ts';

export interface HandBackOptions {
  readonly database: Pick<Database, 'system'>;
  readonly running: RunningJobs;
  readonly log: Logger;
  /** How long a handler may take to stop after its signal aborted. */
  readonly graceMs: number;
}

/** After the handlers' grace: two checks of a blocked thread, and its termination. */
const terminationMs = 3_500;

/** An attempt that has not ended by itself after its grace (its executor is blocked) is ended from here. */
export async function handBack(options: HandBackOptions): Promise<void> {
  const { database, running, log, graceMs } = options;
  const jobs = running.list();
  log.warn({ jobs: jobs.map(({ attempt }) => attempt.jobId) }, 'handing_back');
  const reason = new PurserError('worker_stopping', 'the worker is stopping', {
    details: { class: 'hand_back' },
  });
  for (const { abort } of jobs) abort.abort(reason);
  if (await running.untilIdle(graceMs + terminationMs)) return;
  const end = handedBack(reason.message, 0);
  // One statement per job: a row that another transaction has locked delays no other job.
  await Promise.all(
    running.list().map(async ({ attempt: { jobId, token } }) => {
      await finishAttempts(database.system, [{ jobId, token, end }]).catch((error: unknown) =>
        log.warn({ jobId, error }, 'hand_back_failed'),
      );
    }),
  );
}
