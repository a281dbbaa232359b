/**
 * Dead letters: the job's row is the record. Replay makes one new job and leaves the record as it is; discard removes
 * the record from the list, with a reason. CLI and board use these functions.
 */
import type { Fragment, Queryable } from '../db/connect.ts';
import { PurserError } from '../errors.ts';
import { isJobId } from '../job-id.ts';
import { deadLettersMatching } from './search/dead-letters.ts';
import { and } from './search/filter.ts';
import type { EndedBy, JobFilter } from './search/filter.ts';
import { countRows } from './search/list.ts';

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
  readonly fingerprint: string;
  readonly endedBy: EndedBy;
  /** Where the next page begins. */
  readonly cursor: string;
}

export interface DeadLetterPage {
  readonly limit: number;
  /** The cursor of the last one of the page before. */
  readonly before?: string | undefined;
}

const cursorShape = /^(\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)_(\d{1,19})$/;

function older(sql: Queryable, cursor: string): Fragment {
  const [, finishedAt, jobId] = cursorShape.exec(cursor) ?? [];
  if (finishedAt === undefined || jobId === undefined || !isJobId(jobId)) {
    throw new PurserError(
      'invalid_cursor',
      'the cursor is none of this list; begin anew without it',
      {
        status: 400,
      },
    );
  }
  return sql`(m.finished_at, m.job_id) < (${finishedAt}::text::timestamptz, ${jobId}::bigint)`;
}

/** Newest first, without those that were discarded or replayed. Throws `invalid_cursor`. */
export async function listDeadLetters(
  sql: Queryable,
  { limit, before, ...filter }: JobFilter & DeadLetterPage,
): Promise<DeadLetter[]> {
  return sql<DeadLetter[]>`
    select d.job_id as "jobId", d.tenant_id as "tenantId", d.job_type as "jobType",
           nullif(j.group_name, '') as "group", d.attempt,
           j.error->>'code' as "errorCode", j.error->>'message' as "errorMessage",
           d.finished_at as "finishedAt", d.fingerprint, d.ended_by as "endedBy",
           to_char(d.finished_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '_' || d.job_id as cursor
    from (
      select m.* from (${deadLettersMatching(sql, filter)}) m 
      where true ${and(sql, before, (cursor) => older(sql, cursor))}
      order by m.finished_at desc, m.job_id desc limit ${limit}) d
    join public.jobs j on j.id = d.job_id
    order by d.finished_at desc, d.job_id desc`;
}

/** Number of dead letters that the filter takes, at most `maxCounted` + 1. */
export const countDeadLetters = (sql: Queryable, filter: JobFilter): Promise<number> =>
  countRows(sql, deadLettersMatching(sql, filter));

export interface Replayed {
  readonly jobId: string;
  /** false: replayed before, by the job `jobId`. */
  readonly created: boolean;
}

/**
 * Makes a new job with the tenant, type, payload, priority and group of a dead letter or a cancelled job.
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
  const earlier = await replayedBy(sql, jobId);
  if (earlier !== undefined) return { jobId: earlier, created: false };
  throw await notADeadLetter(sql, jobId);
}

/** The job that replays this one. */
export async function replayedBy(sql: Queryable, jobId: string): Promise<string | undefined> {
  const [replay] = await sql<{ id: string }[]>`
    select id from public.jobs where replay_of = ${jobId}`;
  return replay?.id;
}

/** Removes a dead letter from the list. Throws `not_a_dead_letter`. */
export async function discardDeadLetter(
  sql: Queryable,
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

/** Why a job can be neither replayed nor discarded. */
export async function notADeadLetter(sql: Queryable, jobId: string): Promise<PurserError> {
  const [job] = await sql<{ state: string; discarded_at: Date | null; undone: string | null }[]>`
    select state, discarded_at, state_detail->>'undone_replay_of' as undone
    from public.background_jobs where id = ${jobId}`;
  return new PurserError(
    'not_a_dead_letter',
    `job ${jobId} is not a dead letter: ${foundOf(job)}`,
    { status: job === undefined ? 404 : 409 },
  );
}

function foundOf(
  job: { state: string; discarded_at: Date | null; undone: string | null } | undefined,
): string {
  if (job === undefined) return 'there is no such job';
  if (job.undone !== null) return `it is a replay that was undone; replay job ${job.undone}`;
  return job.discarded_at === null ? `it is ${job.state}` : 'it was discarded';
}
