/**
 * Takes queue entries. An entry with one job is active until that job's attempt has ended, as Bull Board shows it; one
 * with many jobs until each of them has begun or has been refused. What cannot begin soon goes back to pending.
 */
import type { Sql } from '../db/connect.ts';
import { returnToPending } from '../jobs/queued.ts';
import type { ReturnReason } from '../jobs/queued.ts';
import type { Entry } from '../queues/backend.ts';
import { beginJobs, runAttempts } from './execute.ts';
import type { Begun, EntryJobs, ExecuteOptions } from './execute.ts';
import type { Places } from './intake.ts';
import type { Execution, RunningJob } from './running-jobs.ts';

export interface TakeOptions extends ExecuteOptions {
  readonly sql: Sql;
  /** Jobs that wait longer for a place go back, so that another worker begins them. Default 1,000. */
  readonly waitMs?: number | undefined;
}

const defaultWaitMs = 1_000;

/** Resolves to what BullMQ keeps as the entry's result; throws what it shows as the entry's failure. */
export async function takeEntry(
  options: TakeOptions,
  jobType: string,
  // An entry of an earlier version has no list of jobs: the reconciler returns its job.
  { entryId, jobIds = [], alone = false }: Partial<Entry> & Pick<Entry, 'entryId'>,
): Promise<{ readonly state: string }> {
  const { sql, intake, executors, waitMs = defaultWaitMs } = options;
  const isDurable = executors.jobTypes.get(jobType)?.durableBegin === true;
  const untilMs = performance.now() + waitMs;
  const groups: Promise<Begun>[] = [];
  const only = jobIds.length === 1 ? new Only() : undefined;
  let left = jobIds;
  while (left.length > 0 && !intake.isClosed) {
    const leftMs = Math.max(0, untilMs - performance.now());
    const places = await intake.toBegin(jobType, left.length, { alone, waitMs: leftMs });
    if (places === undefined) break;
    const group = { jobType, jobIds: left.slice(0, places.count), entryId, isDurable };
    left = left.slice(places.count);
    groups.push(takeGroup(options, group, places, only));
  }
  const reason = reasonToReturn(intake);
  if (left.length > 0) {
    const jobs = left.map((jobId) => ({ jobId, entryId }));
    await returnToPending(sql, jobs, reason);
  }
  const taken = await Promise.all(groups);
  for (const { error } of taken) if (error !== undefined) throw error;
  const begun = taken.reduce((sum, { jobs }) => sum + jobs.length, 0);
  if (begun > 0 && only !== undefined) return stateOf(jobIds[0] ?? '', await only.ended);
  if (begun > 0) return { state: `${begun} begun, ${left.length} returned` };
  return { state: left.length > 0 ? reason : 'stale entry' };
}

function reasonToReturn({ isClosed, isDraining }: ExecuteOptions['intake']): ReturnReason {
  if (isClosed) return 'worker stopping';
  return isDraining ? 'worker draining' : 'worker full';
}

/** The end of an entry's only job. */
class Only {
  readonly ended: Promise<Execution>;
  #resolve: (execution: Execution) => void = () => {};
  #reject: (error: unknown) => void = () => {};

  constructor() {
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Where the job did not begin, nobody waits for it.
    this.ended.catch(() => {});
  }

  watch(job: RunningJob): void {
    job.onEnded = this.#resolve;
    job.onFailed = this.#reject;
  }
}

async function takeGroup(
  options: TakeOptions,
  group: EntryJobs,
  places: Places,
  only: Only | undefined,
): Promise<Begun> {
  const begun = await beginJobs(options, group);
  for (const job of begun.jobs) only?.watch(job);
  runAttempts(options, group.jobType, begun.jobs, places);
  return begun;
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
