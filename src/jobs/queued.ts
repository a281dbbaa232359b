/**
 * Jobs in state queued: claimed by dispatch and not begun yet. What is counted and listed here is compared with the
 * queues; a job whose entry is gone, or which a worker cannot take, goes back to pending.
 */
import type { Queryable } from '../db/connect.ts';
import { lockTimeout } from '../db/row-faults.ts';
import type { DispatchedJob } from './dispatch.ts';

export type QueuedJob = Pick<DispatchedJob, 'jobId' | 'jobType' | 'entryId'>;

/** Number of queued jobs per job type. */
export async function countQueued(sql: Queryable): Promise<Map<string, number>> {
  const rows = await sql<{ jobType: string; count: number }[]>`
    select job_type as "jobType", count(*)::int as count
    from public.background_jobs where state = 'queued' group by job_type`;
  return new Map(rows.map(({ jobType, count }) => [jobType, count]));
}

/** Job types with a job that has been queued for longer than `ms`. */
export async function listTypesQueuedFor(sql: Queryable, ms: number): Promise<string[]> {
  const rows = await sql<{ job_type: string }[]>`
    select distinct job_type from public.background_jobs
    where state = 'queued' and queued_at < now() - ${ms} * interval '1 millisecond'`;
  return rows.map(({ job_type }) => job_type);
}

/**
 * Up to 1,000 jobs that have been queued for longer than `olderThanMs`, for the comparison with the queue. A random
 * sample: in a fixed order, jobs that still stand in a long queue would hide the lost ones.
 */
export async function listOldQueued(sql: Queryable, olderThanMs: number): Promise<QueuedJob[]> {
  return sql<QueuedJob[]>`
    select id as "jobId", job_type as "jobType", entry_id as "entryId"
    from public.background_jobs
    where state = 'queued' and queued_at < now() - ${olderThanMs} * interval '1 millisecond'
    order by random() limit 1000`;
}

export type ReturnReason =
  | 'queue entry lost'
  | 'queue store refused'
  | 'worker full'
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
  const returned = await sql`
    with ${lockTimeout(sql)}, unlocked as materialized (
      select j.id from public.background_jobs j
      join unnest(${jobs.map(({ jobId }) => jobId)}::bigint[],
        ${jobs.map(({ entryId }) => entryId)}::uuid[]) as r (id, entry_id)
        on r.id = j.id and r.entry_id = j.entry_id
      where exists (select from lock_timeout) and j.state = 'queued'
      order by j.id for no key update of j skip locked
    )
    update public.background_jobs j
    set state = 'pending', state_detail = jsonb_build_object('reason', ${reason}::text)
    from unlocked u where j.id = u.id`;
  return returned.count;
}
