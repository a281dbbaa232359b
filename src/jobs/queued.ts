/**
 * Jobs in state queued: claimed by dispatch and not begun yet. What is counted and listed here is compared with the
 * queues; a job whose entry is gone, or which a worker cannot take, goes back to pending.
 */
import type { Queryable } from '../db/connect.ts';
import type { DispatchedJob } from './dispatch.ts';

export type QueuedJob = Pick<DispatchedJob, 'jobId' | 'jobType' | 'entryId'>;

/** Number of queued jobs per job type. */
export async function countQueued(sql: Queryable): Promise<Map<string, number>> {
  const rows = await sql<{ jobType: string; count: number }[]>`
    select job_type as "jobType", count(*)::int as count
    from purser.in_flight where token is null group by job_type`;
  return new Map(rows.map(({ jobType, count }) => [jobType, count]));
}

/** Job types with a job that has been queued for longer than `ms`. */
export async function listTypesQueuedFor(sql: Queryable, ms: number): Promise<string[]> {
  const rows = await sql<{ job_type: string }[]>`
    select distinct job_type from purser.in_flight
    where token is null and queued_at < now() - ${ms} * interval '1 millisecond'`;
  return rows.map(({ job_type }) => job_type);
}

/**
 * Up to 1,000 jobs that have been queued for longer than `olderThanMs`, for the comparison with the queue. A random
 * sample: in a fixed order, jobs that still stand in a long queue would hide the lost ones.
 */
export async function listOldQueued(sql: Queryable, olderThanMs: number): Promise<QueuedJob[]> {
  return sql<QueuedJob[]>`
    select job_id as "jobId", job_type as "jobType", entry_id as "entryId"
    from purser.in_flight
    where token is null and queued_at < now() - ${olderThanMs} * interval '1 millisecond'
    order by random() limit 1000`;
}

export type ReturnReason =
  | 'queue entry lost'
  | 'queue store refused'
  | 'worker full'
  | 'worker draining'
  | 'worker stopping';

/**
 * Moves queued jobs back to pending. A job that was dispatched again meanwhile (in another entry) stays as it is; one
 * that another transaction has locked is left to the sweep.
 */
export async function returnToPending(
  sql: Queryable,
  jobs: readonly Pick<DispatchedJob, 'jobId' | 'entryId'>[],
  reason: ReturnReason,
): Promise<number> {
  const [row] = await sql<{ returned: number }[]>`
    select purser.return_jobs(${jobs.map(({ jobId }) => jobId)}::bigint[],
      ${jobs.map(({ entryId }) => entryId)}::uuid[], ${reason}) as returned`;
  return row?.returned ?? 0;
}
