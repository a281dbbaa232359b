/** All that the page of a job shows. */
import { callsOfJob } from '../../../../budget/report/job-calls.ts';
import type { JobCall } from '../../../../budget/report/job-calls.ts';
import type { Sql } from '../../../../db/connect.ts';
import { PurserError } from '../../../../errors.ts';
import { listAttempts } from '../../../../jobs/failures/attempts.ts';
import type { Attempt } from '../../../../jobs/failures/attempts.ts';
import { findJob } from '../../../../jobs/inspect.ts';
import type { JobRecord, JobSummary } from '../../../../jobs/inspect.ts';
import { listJobs } from '../../../../jobs/search/list.ts';
import { findDeadLetter } from '../../../../operations/failures/dead-letter.ts';
import type { DeadLetterRecord } from '../../../../operations/failures/dead-letter.ts';
import type { Cause } from '../../../../operations/why/cause.ts';
import { why } from '../../../../operations/why/why.ts';

export const shownEvents = 200;
const shownLines = 200;
export const shownCalls = 100;
export const shownAttempts = 100;

export interface JobView {
  readonly job: JobRecord;
  readonly causes: readonly Cause[];
  readonly attempts: readonly Attempt[];
  readonly calls: readonly JobCall[];
  /** Itself, what it replays and what replays it; oldest first. */
  readonly chain: readonly JobSummary[];
  readonly letter: DeadLetterRecord | undefined;
}

/** Throws `unknown_job` (404). */
export async function readJobView(sql: Sql, jobId: string): Promise<JobView> {
  const job = await findJob(sql, jobId, shownLines, shownEvents);
  if (job === undefined) {
    throw new PurserError('unknown_job', `there is no job ${jobId}`, { status: 404 });
  }
  const { causes } = await why(sql, { jobId });
  const calls = await callsOfJob(sql, jobId, shownCalls);
  if (job.state === 'dead_letter') {
    const letter = await findDeadLetter(sql, jobId);
    return { job, causes, calls, letter, attempts: letter.attempts, chain: letter.chain };
  }
  const isChained = job.replayOf !== null || job.replayedBy !== null;
  const chain = isChained ? await listJobs(sql, { replaysOf: jobId, limit: 100 }) : [];
  return {
    job,
    causes,
    calls,
    letter: undefined,
    attempts: await listAttempts(sql, jobId, shownAttempts),
    chain: chain.toReversed(),
  };
}
