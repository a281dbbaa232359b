/** Lists of jobs, newest first, with a bounded count of all that the filter takes. */
import type { Fragment, Queryable } from '../../db/connect.ts';
import type { JobSummary } from '../inspect.ts';
import type { JobFilter } from './filter.ts';
import { jobsMatching } from './matching-jobs.ts';

export interface JobPage {
  readonly limit: number;
  /** Only jobs with a lower id: the last one of the page before. */
  readonly beforeId?: string | undefined;
}

/** Newest first, by id. */
export async function listJobs(
  sql: Queryable,
  { limit, beforeId, ...filter }: JobFilter & JobPage,
): Promise<JobSummary[]> {
  const wordsAreCommon = filter.text !== undefined && (await areCommon(sql, filter.text));
  const rows = jobsMatching(sql, filter, { limit, beforeId, isOrdered: true, wordsAreCommon });
  return sql<JobSummary[]>`
    select m.job_id as "jobId", m.tenant_id as "tenantId", m.job_type as "jobType",
           nullif(j.group_name, '') as "group", m.state, m.attempt, j.max_attempts as "maxAttempts", j.priority,
           m.scheduled_for as "scheduledFor", j.created_at as "createdAt", j.finished_at as "finishedAt",
           m.error->>'code' as "errorCode"
    from (select * from (${rows}) a order by a.job_id desc limit ${limit}) m
    join public.jobs j on j.id = m.job_id
    order by m.job_id desc`;
}

const manyFailures = 5_000;

/** Either way of the search is right; this chooses the one that takes less time. */
async function areCommon(sql: Queryable, text: string): Promise<boolean> {
  const [found] = await sql<{ failures: number }[]>`
    select count(*)::int as failures from (
      select from purser.failures f where f.words @@ purser.words_query(${text}) limit ${manyFailures + 1}) c`;
  return (found?.failures ?? 0) > manyFailures;
}

/** Lists count so far. */
export const maxCounted = 10_000;

/** Number of rows of a statement, at most `maxCounted` + 1. */
export async function countRows(sql: Queryable, rows: Fragment): Promise<number> {
  const [counted] = await sql<{ rows: number }[]>`
    select count(*)::int as rows from (select from (${rows}) m limit ${maxCounted + 1}) c`;
  return counted?.rows ?? 0;
}

/** Number of jobs that the filter takes, at most `maxCounted` + 1. */
export const countJobs = (sql: Queryable, filter: JobFilter): Promise<number> =>
  countRows(sql, jobsMatching(sql, filter, { limit: maxCounted + 1 }));
