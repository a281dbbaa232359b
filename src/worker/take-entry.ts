/**
 * Takes queue entries. An entry with one job is active until that job's attempt has ended, as Bull Board shows it; one
 * with many jobs until each of them has begun or has been refused. What cannot begin soon goes back to pending.
 */
import type { Sql } from '../db/connect.ts';
import { returnToPending } from '../jobs/queued.ts';
import type { Entry } from '../queues/backend.ts';
import { beginJob, runAttempt } from './execute.ts';
import type { EntryJob, ExecuteOptions, Execution } from './execute.ts';
import type { Slots } from './slots.ts';

export interface TakeOptions extends ExecuteOptions {
  readonly sql: Sql;
  readonly slots: Slots;
  readonly isStopping: () => boolean;
}

/** Jobs of an entry that wait for a slot of this worker for longer go back. */
const slotWaitMs = 1_000;

/** What became of a job of an entry: no slot was free, its entry was stale for it, or its attempt began. */
type Taken = 'no slot' | 'stale' | { readonly ended: Promise<Execution> };

/** Resolves to what BullMQ keeps as the entry's result; throws what it shows as the entry's failure. */
export async function takeEntry(
  options: TakeOptions,
  type: { readonly jobType: string; readonly limit: number },
  // An entry of an earlier version has no list of jobs: the reconciler returns its job.
  { entryId, jobIds = [] }: Partial<Entry> & Pick<Entry, 'entryId'>,
): Promise<{ readonly state: string }> {
  const outcomes = await Promise.allSettled(
    jobIds.map((jobId) => takeJob(options, type, { jobId, entryId })),
  );
  const takenAt = (index: number): Taken | undefined => {
    const outcome = outcomes[index];
    return outcome?.status === 'fulfilled' ? outcome.value : undefined;
  };
  const back = jobIds.filter((_, index) => takenAt(index) === 'no slot');
  const reason = options.isStopping() ? 'worker stopping' : 'worker full';
  if (back.length > 0) {
    const jobs = back.map((jobId) => ({ jobId, entryId }));
    await returnToPending(options.sql, jobs, reason);
  }
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  const [first, ...others] = jobIds.map((_, index) => takenAt(index));
  if (first !== undefined && typeof first !== 'string' && others.length === 0) {
    return stateOf(jobIds[0] ?? '', await first.ended);
  }
  const begun = [first, ...others].filter((taken) => typeof taken === 'object').length;
  if (begun > 0) return { state: `${begun} begun, ${back.length} returned` };
  return { state: back.length > 0 ? reason : 'stale entry' };
}

async function takeJob(
  options: TakeOptions,
  type: { readonly jobType: string; readonly limit: number },
  job: EntryJob,
): Promise<Taken> {
  const release = await options.slots.take({ ...type, waitMs: slotWaitMs });
  if (release === undefined) return 'no slot';
  let isRunning = false;
  try {
    if (options.isStopping()) return 'no slot';
    const running = await beginJob(options, job);
    if (running === undefined) return 'stale';
    isRunning = true;
    const ended = runAttempt(options, running).finally(release);
    ended.catch((error: unknown) => {
      options.log.error({ jobId: job.jobId, error }, 'attempt_not_ended');
    });
    return { ended };
  } finally {
    if (!isRunning) release();
  }
}

function stateOf(jobId: string, { end }: Execution): { readonly state: string } {
  // Bull Board shows an attempt that failed as failed; BullMQ itself retries nothing (attempts: 1).
  if (end.toState === 'failed' || end.toState === 'dead_letter') {
    const failure = new Error(`${end.error?.code ?? 'error'} (job ${jobId})`);
    // Bull Board would show the stack of this line.
    delete failure.stack;
    throw failure;
  }
  return { state: end.toState };
}
