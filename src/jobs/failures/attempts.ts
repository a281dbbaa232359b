/** The attempts of a job, each with the error that it ended with. */
import type { Queryable } from '../../db/connect.ts';

export interface Attempt {
  readonly attempt: number;
  /** Whether it counts as one of the attempts of the job. */
  readonly counted: boolean;
  readonly startedAt: Date | null;
  readonly endedAt: Date;
  readonly workerId: string | null;
  /** The state after it. */
  readonly toState: string;
  readonly errorCode: string | null;
  readonly fingerprint: string | null;
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly stack?: string;
    readonly details?: unknown;
  } | null;
}

/**
 * Oldest first, the newest `limit`: attempts that began and ended, and the end of a job that expired while it waited.
 * An attempt from before errors were kept has its code alone, apart from the last one, whose error is the job's.
 */
export async function listAttempts(sql: Queryable, jobId: string, limit = 100): Promise<Attempt[]> {
  return sql<Attempt[]>`
    select attempt, counted, started_at as "startedAt", ended_at as "endedAt", worker_id as "workerId",
      to_state as "toState", error_code as "errorCode", fingerprint,
      coalesce(error, case when to_state = 'dead_letter' then job_error end) as error
    from (
      select h.*, j.error as job_error
      from purser.job_history h join public.jobs j on j.id = h.job_id
      where h.job_id = ${jobId} and (h.started_at is not null or h.error_code is not null)
      order by h.id desc limit ${limit}) a
    order by id`;
}
