/**
 * Dead letters: the job's row is the record. Replay makes one new job and leaves the record as it is; discard removes
 * the record from the list, with a reason. CLI and board use these functions.
 */
import type { Queryable, Sql } from '../db/connect.ts';
import { PurserError } from '../errors.ts';

export interface DeadLetter {
  readonly jobId: string;
  readonly tenantId: string;
  readonly jobType: string;
  /** null: none. */
  readonly group: string | null;
  readonly attempt: number;
  readonly errorCode: string;
  readonly errorMessage: string;
  readonly finishedAt: Date;
}

export interface DeadLetterFilter {
  readonly tenantId?: string | undefined;
  readonly jobType?: string | undefined;
  readonly limit: number;
}

/** Newest first, without those that were discarded or replayed. */
export async function listDeadLetters(
  sql: Queryable,
  filter: DeadLetterFilter,
): Promise<DeadLetter[]> {
  return sql<DeadLetter[]>`
    select j.id as "jobId", j.tenant_id as "tenantId", j.job_type as "jobType",
           nullif(j.group_name, '') as "group", j.attempt,
           j.error->>'code' as "errorCode", j.error->>'message' as "errorMessage",
           j.finished_at as "finishedAt"
    from purser.dead_letters d join public.jobs j on j.id = d.job_id
    where (${filter.tenantId ?? null}::text is null or d.tenant_id = ${filter.tenantId ?? null})
      and (${filter.jobType ?? null}::text is null or j.job_type = ${filter.jobType ?? null})
    order by d.finished_at desc, d.job_id desc
    limit ${filter.limit}`;
}

export interface Replayed {
  readonly jobId: string;
  /** false: replayed before, by the job `jobId`. */
  readonly created: boolean;
}

/**
 * Makes a new job with the dead letter's tenant, type, payload, priority and group.
 * Throws `not_a_dead_letter` naming the state found.
 */
export async function replayDeadLetter(
  sql: Queryable,
  jobId: string,
  by: { readonly operator: string; readonly source: string },
): Promise<Replayed> {
  const [made] = await sql<{ id: string | null }[]>`
    select purser.replay_dead_letter(${jobId}, ${by.operator}, ${by.source}) as id`;
  if (typeof made?.id === 'string') return { jobId: made.id, created: true };
  const [earlier] = await sql<{ id: string }[]>`
    select id from public.jobs where replay_of = ${jobId}`;
  if (earlier !== undefined) return { jobId: earlier.id, created: false };
  throw await notADeadLetter(sql, jobId);
}

/** Removes a dead letter from the list. Throws `not_a_dead_letter`. */
export async function discardDeadLetter(
  sql: Sql,
  jobId: string,
  by: { readonly operator: string; readonly source: string; readonly reason: string },
): Promise<void> {
  const [discarded] = await sql`
    with discarded as (
      update public.jobs
      set discarded_at = now(), end_detail = coalesce(end_detail, '{}') || jsonb_build_object('discarded',
        jsonb_build_object('by', ${by.operator}::text, 'source', ${by.source}::text, 'reason', ${by.reason}::text))
      where id = ${jobId} and outcome = 'dead_letter' and discarded_at is null
      returning id
    ), listed as (
      delete from purser.dead_letters d using discarded j where d.job_id = j.id
    )
    select id from discarded`;
  if (discarded === undefined) throw await notADeadLetter(sql, jobId);
}

async function notADeadLetter(sql: Queryable, jobId: string): Promise<PurserError> {
  const [job] = await sql<{ state: string; discarded_at: Date | null }[]>`
    select state, discarded_at from public.background_jobs where id = ${jobId}`;
  const found =
    job === undefined
      ? 'there is no such job'
      : job.discarded_at === null
        ? `it is ${job.state}`
        : 'it was discarded';
  return new PurserError('not_a_dead_letter', `job ${jobId} is not a dead letter: ${found}`, {
    status: job === undefined ? 404 : 409,
  });
}
