/**
 * Takes queue entries. An entry with one job is active until that job's attempt has ended, as Bull Board shows it; one
 * with many jobs until each of them has begun or has been refused. What cannot begin soon goes back to pending.
 */
import type { Sql } from '../db/connect.ts';
import { returnToPending } from '../jobs/queued.ts';
import type { Entry } from '../queues/backend.ts';
import { beginJob, runAttempt } from './execute.ts';
import type { EntryJob, ExecuteOptions, Execution } from './execute.ts';
import type { Intake, Place } from './intake.ts';

export interface TakeOptions extends ExecuteOptions {
  readonly sql: Sql;
  readonly intake: Intake;
}

/** What became of a job of an entry: it had no place, its entry was stale for it, or its attempt began. */
type Taken = 'no place' | 'stale' | { readonly ended: Promise<Execution> };

/** Resolves to what BullMQ keeps as the entry's result; throws what it shows as the entry's failure. */
export async function takeEntry(
  options: TakeOptions,
  jobType: string,
  // An entry of an earlier version has no list of jobs: the reconciler returns its job.
  { entryId, jobIds = [], alone = false }: Partial<Entry> & Pick<Entry, 'entryId'>,
): Promise<{ readonly state: string }> {
  const { sql, intake, executors } = options;
  const isDurable = executors.jobTypes.get(jobType)?.durableBegin === true;
  const outcomes = await Promise.allSettled(
    jobIds.map(async (jobId) => {
      const place = await intake.toBegin(jobType, alone);
      return place === undefined
        ? 'no place'
        : takeJob(options, { jobId, entryId, isDurable }, place);
    }),
  );
  const taken = outcomes.map((one) => (one.status === 'fulfilled' ? one.value : undefined));
  const back = jobIds.filter((_, index) => taken[index] === 'no place');
  const reason = intake.isClosed ? 'worker stopping' : 'worker full';
  if (back.length > 0) {
    const jobs = back.map((jobId) => ({ jobId, entryId }));
    await returnToPending(sql, jobs, reason);
  }
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  const begun = taken.filter((one) => typeof one === 'object');
  const [first] = begun;
  if (first !== undefined && jobIds.length === 1) {
    return stateOf(jobIds[0] ?? '', await first.ended);
  }
  if (begun.length > 0) return { state: `${begun.length} begun, ${back.length} returned` };
  return { state: back.length > 0 ? reason : 'stale entry' };
}

async function takeJob(options: TakeOptions, job: EntryJob, place: Place): Promise<Taken> {
  let isLeft = options.intake.isClosed;
  try {
    if (isLeft) return 'no place';
    const running = await beginJob(options, job);
    isLeft = running === undefined;
    if (running === undefined) return 'stale';
    const ended = runAttempt(options, running, place);
    ended.catch((error: unknown) => {
      options.log.error({ jobId: job.jobId, error }, 'attempt_not_ended');
    });
    return { ended };
  } catch (error) {
    isLeft = true;
    throw error;
  } finally {
    if (isLeft) place.leave();
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
