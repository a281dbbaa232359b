/**
 * The pipeline of an attempt: begin -> run in an executor -> finish -> log and metrics. Every attempt that began is
 * finished exactly once, or refused as stale. Jobs of an entry pass through it together as far as they can.
 */
import { newToken } from '../jobs/attempts.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { endOfThrow, handedBack } from './classify.ts';
import type { Intake, Places } from './intake.ts';
import { logAttemptEnd } from './log-attempt-end.ts';
import { bytesOfEnd } from './batches/attempt-batches.ts';
import type { AttemptBatches } from './batches/attempt-batches.ts';
import { AbortSource } from './executors/abort-source.ts';
import { newLane } from './executors/assignment.ts';
import type { Outcome } from './executors/assignment.ts';
import type { Executors } from './executors/executors.ts';
import type { RunningJob, RunningJobs } from './running-jobs.ts';
import type { Release } from './slots.ts';

export interface ExecuteOptions {
  readonly batches: AttemptBatches;
  readonly executors: Executors;
  readonly intake: Intake;
  readonly running: RunningJobs;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly leaseMs: number;
}

/** Jobs of one queue entry. */
export interface EntryJobs {
  readonly jobType: string;
  readonly jobIds: readonly string[];
  readonly entryId: string;
  readonly isDurable: boolean;
}

/** The attempts that began; a job for which the entry is stale is missing. `error`: one could not begin. */
export interface Begun {
  readonly jobs: readonly RunningJob[];
  readonly error?: unknown;
}

export async function beginJobs(
  options: ExecuteOptions,
  { jobIds, entryId, isDurable }: EntryJobs,
): Promise<Begun> {
  const { batches, running, log, leaseMs } = options;
  const begun = running.enterBeginning();
  const askedAtMs = performance.now();
  try {
    const answers = await Promise.allSettled(
      jobIds.map((jobId) => batches.begin({ jobId, entryId, token: newToken(jobId), isDurable })),
    );
    const jobs: RunningJob[] = [];
    const errors: unknown[] = [];
    for (const answer of answers) {
      if (answer.status === 'rejected') errors.push(answer.reason);
      else if (answer.value === undefined) log.debug({ entryId }, 'stale_entry');
      else {
        const leasedUntilMs = askedAtMs + leaseMs;
        jobs.push({ attempt: answer.value, abort: new AbortSource(), leasedUntilMs });
      }
    }
    for (const job of jobs) running.add(job);
    return errors.length === 0 ? { jobs } : { jobs, error: errors[0] };
  } finally {
    begun();
  }
}

/** Runs attempts that began to their ends, each in its slot, or several in one as soon as there is one. */
export function runAttempts(
  options: ExecuteOptions,
  jobType: string,
  jobs: readonly RunningJob[],
  { count, slots }: Places,
): void {
  const { intake, executors } = options;
  if (slots !== undefined) {
    for (const [index, slot] of slots.entries()) {
      const job = jobs[index];
      if (job === undefined) slot();
      else runLane(options, [job], slot);
    }
    return;
  }
  intake.leave(jobType, count - jobs.length);
  const size = intake.laneSize(jobType);
  const together: RunningJob[] = [];
  for (const job of jobs) {
    if (executors.sharesThread(job.attempt)) together.push(job);
    else void runWhenFree(options, jobType, [job], 1);
  }
  for (let first = 0; first < together.length; first += size) {
    const lane = together.slice(first, first + size);
    void runWhenFree(options, jobType, lane, lane.length);
  }
}

/** Waits for a slot for jobs that began ahead and keep `places` until they have run. Without a slot they go back. */
async function runWhenFree(
  options: ExecuteOptions,
  jobType: string,
  jobs: readonly RunningJob[],
  places: number,
): Promise<void> {
  const { intake } = options;
  const waiting = new Set(jobs);
  const allLeft = new AbortSource();
  for (const job of jobs) {
    const leave = (): void => {
      if (!waiting.delete(job)) return;
      endUnstarted(options, job);
      if (waiting.size === 0) allLeft.abort('every job was aborted');
    };
    if (job.abort.aborted) leave();
    else job.abort.onAbort(leave);
  }
  const slot = await intake.toRun(jobType, allLeft);
  const left = [...waiting];
  waiting.clear();
  const release = (): void => {
    slot?.();
    intake.leave(jobType, places);
  };
  if (slot !== undefined && left.length > 0) runLane(options, left, release);
  else {
    release();
    for (const job of left) endUnstarted(options, job);
  }
}

/** Runs jobs one after another in a slot. One that the lane did not come to waits for another slot. */
function runLane(options: ExecuteOptions, jobs: readonly RunningJob[], slot: Release): void {
  const { executors, intake } = options;
  let parts = jobs.length;
  const release = (): void => {
    parts -= 1;
    if (parts === 0) slot();
  };
  const lane = jobs.length > 1 ? newLane() : undefined;
  for (const job of jobs) {
    const { jobType } = job.attempt;
    const onOutcome = (outcome: Outcome | undefined): void => {
      if (outcome === undefined) {
        release();
        void runWhenFree(options, jobType, [job], 0);
        return;
      }
      intake.ended(jobType);
      void endAttempt(options, job, outcome, release);
    };
    try {
      executors.run(job.attempt, job.abort, onOutcome, lane);
    } catch (error) {
      giveUp(options, job, error);
      release();
    }
  }
}

/** Ends an attempt that its handler has not seen. */
function endUnstarted(options: ExecuteOptions, job: RunningJob): void {
  const { attempt, abort } = job;
  const handler = options.executors.jobTypes.get(attempt.jobType);
  const end =
    abort.aborted && handler !== undefined
      ? endOfThrow(abort.reason, { attempt, handler, now: new Date() })
      : handedBack('the worker had no room to run it', 0);
  void endAttempt(options, job, { end }, () => {});
}

/**
 * Stores the end, and gives the slot back: before that, unless too many ends wait. A job that has an entry of its own
 * keeps its place in the queue all the same.
 */
async function endAttempt(
  options: ExecuteOptions,
  job: RunningJob,
  { end, runMs = 0 }: Outcome,
  release: Release,
): Promise<void> {
  const { running, batches } = options;
  const { attempt } = job;
  const { jobId, token } = attempt;
  const bytes = bytesOfEnd(end);
  running.countStoring(1, bytes);
  const isFree = running.mayStoreMore;
  if (isFree) release();
  try {
    const finish = await batches.finish({ jobId, token, end }, bytes);
    logAttemptEnd(options, attempt, end, finish, runMs / 1000);
    job.onEnded?.({ end, finish });
  } catch (error) {
    giveUp(options, job, error);
  } finally {
    running.countStoring(-1, bytes);
    if (!isFree) release();
    running.remove(token);
  }
}

/** The database stays unavailable: the lease expires, and the sweep takes the job over. */
function giveUp(
  { log, running }: ExecuteOptions,
  { attempt, onFailed }: RunningJob,
  error: unknown,
): void {
  log.error({ jobId: attempt.jobId, error }, 'attempt_not_ended');
  running.remove(attempt.token);
  onFailed?.(error);
}
