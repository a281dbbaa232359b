/**
 * From waiting to queued: locks the tenants that have waiting work, oldest served first, and claims a
 * bounded number of jobs in turn from each. The queue is told after the commit; what it loses comes back.
 */
import type { Queryable, Sql } from '../db/connect.ts';
import { pausesDuringClaim } from './pauses.ts';

export interface DispatchedJob {
  readonly jobId: string;
  readonly jobType: string;
  readonly tenantId: string;
  readonly dispatchNo: number;
  readonly priority: number;
}

export interface TypeRoom {
  readonly jobType: string;
  /** How many more jobs of this type the queue should hold. */
  readonly room: number;
}

const tenantsPerClaim = 200;

/**
 * Claims at most `room` waiting jobs per job type, turn by turn over the tenants (one each, then a second
 * each ...), longest unserved first: neither the age nor the priority of a tenant's jobs buys it a turn.
 * What is paused is passed over. One short transaction; several dispatchers share the tenants by SKIP LOCKED.
 */
export async function claimWaitingJobs(
  sql: Sql,
  rooms: readonly TypeRoom[],
  now: Date,
): Promise<DispatchedJob[]> {
  if (rooms.every(({ room }) => room <= 0)) return [];
  return sql.begin(async (tx) => {
    const paused = await pausesDuringClaim(tx);
    const open = rooms.filter(({ jobType, room }) => room > 0 && !paused.jobTypes.has(jobType));
    if (paused.all || open.length === 0) return [];
    const tenants = await lockTenantsWithWork(tx, open, paused.tenantIds, now);
    if (tenants.length === 0) return [];
    const claimed = await tx<DispatchedJob[]>`
      with room as (
        select * from unnest(${open.map(({ jobType }) => jobType)}::text[],
          ${open.map(({ room }) => room)}::int[]) as r (job_type, room)
      ), candidate as (
        select w.*, t.seat from unnest(${tenants}::text[]) with ordinality as t (tenant_id, seat)
        cross join room r
        cross join lateral (
          select j.id, j.job_type, j.tenant_id, j.priority,
                 row_number() over (order by j.priority desc, j.scheduled_for, j.id) as turn
          from public.background_jobs j
          where j.tenant_id = t.tenant_id and j.job_type = r.job_type
            and j.state in ('pending', 'failed') and j.scheduled_for <= ${now}
          order by j.priority desc, j.scheduled_for, j.id
          limit r.room
        ) w
      ), picked as (
        select c.id from (
          select c.*, row_number() over (partition by c.job_type order by c.turn, c.seat) as place
          from candidate c
        ) c join room r on r.job_type = c.job_type
        where c.place <= r.room
      ), free as (
        -- What somebody's open transaction replaces waits for that, and nobody else waits with it.
        select j.id from public.background_jobs j join picked p on p.id = j.id
        where j.state in ('pending', 'failed') for no key update of j skip locked
      )
      update public.background_jobs j
      set state = 'queued', dispatch_no = j.dispatch_no + 1, queued_at = ${now}, state_detail = '{}'
      from free f
      where j.id = f.id
      returning j.id as "jobId", j.job_type as "jobType", j.tenant_id as "tenantId",
                j.dispatch_no as "dispatchNo", j.priority`;
    const served = [...new Set(claimed.map(({ tenantId }) => tenantId))];
    await tx`
      update public.tenant_queues set last_dispatched_at = ${now} where tenant_id = any(${served}::text[])`;
    return [...claimed];
  });
}

/** Walks the index from tenant to tenant, so that one tenant's backlog costs one step. */
async function lockTenantsWithWork(
  tx: Queryable,
  rooms: readonly TypeRoom[],
  pausedTenants: readonly string[],
  now: Date,
): Promise<string[]> {
  const types = rooms.map(({ jobType }) => jobType);
  const rows = await tx<{ tenant_id: string }[]>`
    with recursive tenant as (
      (select tenant_id from public.background_jobs where state in ('pending', 'failed')
       order by tenant_id limit 1)
      union all
      select (select j.tenant_id from public.background_jobs j
              where j.state in ('pending', 'failed') and j.tenant_id > t.tenant_id
              order by j.tenant_id limit 1)
      from tenant t where t.tenant_id is not null
    )
    select q.tenant_id from public.tenant_queues q
    join tenant t on t.tenant_id = q.tenant_id
    where q.tenant_id <> all(${pausedTenants}::text[]) and exists (
      select from public.background_jobs j
      where j.tenant_id = q.tenant_id and j.state in ('pending', 'failed')
        and j.job_type = any(${types}::text[]) and j.scheduled_for <= ${now})
    order by q.last_dispatched_at, q.tenant_id
    limit ${tenantsPerClaim}
    for no key update of q skip locked`;
  return rows.map(({ tenant_id }) => tenant_id);
}

/** Jobs that a queue should be holding, per job type (queued, not yet begun). */
export async function countQueued(sql: Queryable): Promise<Map<string, number>> {
  const rows = await sql<{ jobType: string; count: number }[]>`
    select job_type as "jobType", count(*)::int as count
    from public.background_jobs where state = 'queued' group by job_type`;
  return new Map(rows.map(({ jobType, count }) => [jobType, count]));
}

/** Job types of which a job has been queued, and not begun, for longer than `ms`. */
export async function listTypesQueuedFor(sql: Queryable, ms: number): Promise<string[]> {
  const rows = await sql<{ job_type: string }[]>`
    select distinct job_type from public.background_jobs
    where state = 'queued' and queued_at < now() - ${ms} * interval '1 millisecond'`;
  return rows.map(({ job_type }) => job_type);
}

/**
 * Queued for longer than `olderThanMs`: what a reconciler compares with the queue. At random where they are too
 * many for one look: those that merely stand in a queue would hide the lost ones for as long.
 */
export async function listOldQueued(
  sql: Queryable,
  now: Date,
  olderThanMs: number,
): Promise<DispatchedJob[]> {
  return sql<DispatchedJob[]>`
    select id as "jobId", job_type as "jobType", tenant_id as "tenantId", dispatch_no as "dispatchNo", priority
    from public.background_jobs
    where state = 'queued' and queued_at < ${now}::timestamptz - ${olderThanMs} * interval '1 millisecond'
    order by random() limit 1000`;
}

/** Takes back jobs whose queue entry is gone; a dispatch number that moved on is left alone. */
export async function returnLostEntries(
  sql: Queryable,
  lost: readonly Pick<DispatchedJob, 'jobId' | 'dispatchNo'>[],
): Promise<number> {
  const returned = await sql`
    update public.background_jobs j
    set state = 'pending', state_detail = '{"reason": "queue entry lost"}'
    from unnest(${lost.map(({ jobId }) => jobId)}::bigint[],
      ${lost.map(({ dispatchNo }) => dispatchNo)}::int[]) as l (id, dispatch_no)
    where j.id = l.id and j.state = 'queued' and j.dispatch_no = l.dispatch_no`;
  return returned.count;
}
