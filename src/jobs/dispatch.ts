/**
 * Claims waiting jobs for the queues: state pending or failed becomes queued. The caller adds the queue entries after
 * the commit; a job whose entry is lost goes back to pending (see queued.ts).
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

export interface TypeCapacity {
  readonly jobType: string;
  /** How many more jobs of this type the queue should hold. */
  readonly capacity: number;
}

const maxTenantsPerClaim = 200;

/**
 * Claims at most `capacity` jobs per job type in one short transaction, round-robin over the tenants: every tenant's
 * first job comes before any tenant's second job, and the tenant that was served longest ago comes first. Within a
 * tenant, jobs are ordered by priority, then by due time. Paused types and tenants are skipped. Several dispatchers may
 * run at once; each skips the tenants and jobs that another transaction has locked.
 */
export async function claimWaitingJobs(
  sql: Sql,
  capacities: readonly TypeCapacity[],
  now: Date,
): Promise<DispatchedJob[]> {
  const wanted = capacities.filter(({ capacity }) => capacity > 0);
  if (wanted.length === 0) return [];
  return sql.begin(async (tx) => {
    const paused = await pausesDuringClaim(tx);
    const types = wanted.filter(({ jobType }) => !paused.jobTypes.has(jobType));
    if (paused.all || types.length === 0) return [];
    const tenantIds = await lockTenantsWithWork(tx, types, paused.tenantIds, now);
    if (tenantIds.length === 0) return [];
    const jobs = await queueJobsRoundRobin(tx, types, tenantIds, now);
    await recordDispatchTime(tx, jobs, now);
    return jobs;
  });
}

/**
 * Locks the queue rows of tenants that have due work of these types and returns their ids, longest unserved first.
 * The recursive CTE is a loose index scan: one index probe per tenant, however many jobs the tenant has.
 */
async function lockTenantsWithWork(
  tx: Queryable,
  types: readonly TypeCapacity[],
  pausedTenantIds: readonly string[],
  now: Date,
): Promise<string[]> {
  const rows = await tx<{ tenant_id: string }[]>`
    with recursive waiting_tenant as (
      (select tenant_id from public.background_jobs where state in ('pending', 'failed')
       order by tenant_id limit 1)
      union all
      select (select j.tenant_id from public.background_jobs j
              where j.state in ('pending', 'failed') and j.tenant_id > w.tenant_id
              order by j.tenant_id limit 1)
      from waiting_tenant w where w.tenant_id is not null
    )
    select q.tenant_id from public.tenant_queues q
    join waiting_tenant w on w.tenant_id = q.tenant_id
    where q.tenant_id <> all(${pausedTenantIds}::text[]) and exists (
      select from public.background_jobs j
      where j.tenant_id = q.tenant_id and j.state in ('pending', 'failed')
        and j.job_type = any(${types.map(({ jobType }) => jobType)}::text[]) and j.scheduled_for <= ${now})
    order by q.last_dispatched_at, q.tenant_id
    limit ${maxTenantsPerClaim}
    for no key update of q skip locked`;
  return rows.map(({ tenant_id }) => tenant_id);
}

/**
 * tenant_rank: position of the tenant in `tenantIds`. job_rank: position of the job within its tenant and type.
 * type_rank: position of the job within its type, over all tenants; the first `capacity` of them are queued.
 */
async function queueJobsRoundRobin(
  tx: Queryable,
  types: readonly TypeCapacity[],
  tenantIds: readonly string[],
  now: Date,
): Promise<DispatchedJob[]> {
  return tx<DispatchedJob[]>`
    with capacity as (
      select * from unnest(${types.map(({ jobType }) => jobType)}::text[],
        ${types.map(({ capacity }) => capacity)}::int[]) as c (job_type, jobs)
    ), candidate as (
      select due.*, t.tenant_rank from unnest(${tenantIds}::text[]) with ordinality as t (tenant_id, tenant_rank)
      cross join capacity c
      cross join lateral (
        select j.id, j.job_type,
               row_number() over (order by j.priority desc, j.scheduled_for, j.id) as job_rank
        from public.background_jobs j
        where j.tenant_id = t.tenant_id and j.job_type = c.job_type
          and j.state in ('pending', 'failed') and j.scheduled_for <= ${now}
        order by j.priority desc, j.scheduled_for, j.id
        limit c.jobs
      ) due
    ), ranked as (
      select id, job_type, row_number() over (partition by job_type order by job_rank, tenant_rank) as type_rank
      from candidate
    ), unlocked as (
      -- Skip rows locked by another transaction.
      select j.id from public.background_jobs j
      join ranked r on r.id = j.id join capacity c on c.job_type = r.job_type
      where r.type_rank <= c.jobs and j.state in ('pending', 'failed')
      for no key update of j skip locked
    )
    update public.background_jobs j
    set state = 'queued', dispatch_no = j.dispatch_no + 1, queued_at = ${now}, state_detail = '{}'
    from unlocked u
    where j.id = u.id
    returning j.id as "jobId", j.job_type as "jobType", j.tenant_id as "tenantId",
              j.dispatch_no as "dispatchNo", j.priority`;
}

async function recordDispatchTime(
  tx: Queryable,
  jobs: readonly DispatchedJob[],
  now: Date,
): Promise<void> {
  const tenantIds = [...new Set(jobs.map(({ tenantId }) => tenantId))];
  await tx`
    update public.tenant_queues set last_dispatched_at = ${now} where tenant_id = any(${tenantIds}::text[])`;
}
