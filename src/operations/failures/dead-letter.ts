/** One dead letter with all that an operator decides by: attempts and errors, cost, replays, how many fail alike, what to do. */
import { costOfJob } from '../../budget/report/job-cost.ts';
import type { AttemptCost } from '../../budget/report/job-cost.ts';
import type { Queryable } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import { countDeadLetters } from '../../jobs/dead-letters.ts';
import { listAttempts } from '../../jobs/failures/attempts.ts';
import type { Attempt } from '../../jobs/failures/attempts.ts';
import { findJob } from '../../jobs/inspect.ts';
import type { JobRecord, JobSummary } from '../../jobs/inspect.ts';
import type { EndedBy } from '../../jobs/search/filter.ts';
import { listJobs } from '../../jobs/search/list.ts';
import { adviceOn } from './advice.ts';

export interface DeadLetterRecord {
  readonly job: JobRecord;
  /** listed: it can be replayed or discarded. */
  readonly standing: 'listed' | 'replayed' | 'discarded';
  /** null where it is from before this was recorded and was replayed or discarded. */
  readonly endedBy: EndedBy | null;
  readonly fingerprint: string | null;
  /** Oldest first. */
  readonly attempts: readonly Attempt[];
  readonly costs: readonly AttemptCost[];
  /** Itself, what it replays and what replays it; oldest first. */
  readonly chain: readonly JobSummary[];
  /** Listed dead letters with its fingerprint, itself included; at most 10,001. */
  readonly alike: number;
  /** Sentences, with commands. */
  readonly advice: readonly string[];
}

const maxChain = 100;

/** Throws `unknown_job`, and `not_a_dead_letter` naming the state. */
export async function findDeadLetter(sql: Queryable, jobId: string): Promise<DeadLetterRecord> {
  const job = await findJob(sql, jobId, 0);
  if (job === undefined) {
    throw new PurserError('unknown_job', `there is no job ${jobId}`, { status: 404 });
  }
  if (job.state !== 'dead_letter') {
    throw new PurserError(
      'not_a_dead_letter',
      `job ${jobId} is not a dead letter: it is ${job.state}; see purser jobs show ${jobId}`,
      { status: 409 },
    );
  }
  const [end] = await sql<{ fingerprint: string; endedBy: EndedBy }[]>`
    select fingerprint, ended_by as "endedBy" from purser.failures
    where job_id = ${jobId} and ended_by is not null limit 1`;
  const fingerprint = end?.fingerprint ?? null;
  const endedBy = end?.endedBy ?? null;
  const chain = await listJobs(sql, { replaysOf: jobId, limit: maxChain });
  const standing =
    job.replayedBy !== null ? 'replayed' : 'discarded' in job.stateDetail ? 'discarded' : 'listed';
  const alike = fingerprint === null ? 0 : await countDeadLetters(sql, { fingerprint });
  const described = { job, standing, endedBy, fingerprint, alike } as const;
  return {
    ...described,
    attempts: await listAttempts(sql, jobId),
    costs: await costOfJob(sql, jobId),
    chain: chain.toReversed(),
    advice: adviceOn(described),
  };
}
