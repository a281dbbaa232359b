/**
 * The pipeline of one attempt: begin -> run in an executor -> finish -> log and metrics. Every attempt that began is
 * finished exactly once, or refused as stale.
 */
import { newToken } from '../jobs/attempts.ts';
import type { AttemptEnd, BegunAttempt, FinishResult } from '../jobs/attempts.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { endOfThrow, handedBack } from './classify.ts';
import type { Place } from './intake.ts';
import { logAttemptEnd } from './log-attempt-end.ts';
import type { AttemptBatches } from './batches/attempt-batches.ts';
import { AbortSource } from './executors/abort-source.ts';
import type { Executors } from './executors/executors.ts';
import type { RunningJob, RunningJobs } from './running-jobs.ts';
import type { Release } from './slots.ts';

export interface ExecuteOptions {
  readonly batches: AttemptBatches;
  readonly executors: Executors;
  readonly running: RunningJobs;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly leaseMs: number;
}

/** A job of a queue entry. */
export interface EntryJob {
  readonly jobId: string;
  readonly entryId: string;
  readonly isDurable: boolean;
}

export interface Execution {
  readonly end: AttemptEnd;
  readonly finish: FinishResult;
}

/** undefined: the entry is stale for this job, and no attempt began. Throws when the database stays unavailable. */
export async function beginJob(
  options: ExecuteOptions,
  { jobId, entryId, isDurable }: EntryJob,
): Promise<RunningJob | undefined> {
  const { batches, running, log, leaseMs } = options;
  const begun = running.enterBeginning();
  const askedAtMs = performance.now();
  try {
    const attempt = await batches.begin({ jobId, entryId, token: newToken(jobId), isDurable });
    if (attempt === undefined) {
      log.debug({ jobId, entryId }, 'stale_entry');
      return undefined;
    }
    const job = { attempt, abort: new AbortSource(), leasedUntilMs: askedAtMs + leaseMs };
    running.add(job);
    return job;
  } finally {
    begun();
  }
}

/**
 * Ends, each with a result of a megabyte at most, that may wait to be stored while other jobs run in their slots. A job
 * that has an entry of its own keeps its place in the queue all the same.
 */
const mostStoring = 100;

/**
 * Runs an attempt that began to its end, or hands it back when it has no place to run. Throws only when the database
 * stays unavailable.
 */
export async function runAttempt(
  options: ExecuteOptions,
  { attempt, abort }: RunningJob,
  place: Place,
): Promise<Execution> {
  const { running } = options;
  let release: Release | undefined;
  let stored: (() => void) | undefined;
  try {
    release = await place.toRun(abort);
    const startedAtMs = performance.now();
    const end =
      release === undefined
        ? unstartedEnd(options, attempt, abort)
        : await options.executors.run(attempt, abort);
    stored = running.enterStoring();
    if (running.storing <= mostStoring) {
      release?.();
      release = undefined;
    }
    return await endAttempt(options, attempt, end, startedAtMs);
  } finally {
    stored?.();
    release?.();
    running.remove(attempt.token);
  }
}

/** It began ahead, and its handler has not seen it. */
function unstartedEnd(
  { executors }: ExecuteOptions,
  attempt: BegunAttempt,
  abort: AbortSource,
): AttemptEnd {
  const handler = executors.jobTypes.get(attempt.jobType);
  if (!abort.aborted || handler === undefined) {
    return handedBack('the worker had no room to run it', new Date());
  }
  return endOfThrow(abort.reason, { attempt, handler, now: new Date() });
}

async function endAttempt(
  options: ExecuteOptions,
  attempt: BegunAttempt,
  end: AttemptEnd,
  startedAtMs: number,
): Promise<Execution> {
  const { jobId, token } = attempt;
  const finish = await options.batches.finish({ jobId, token, end });
  logAttemptEnd(options, attempt, end, finish, (performance.now() - startedAtMs) / 1000);
  return { end, finish };
}
