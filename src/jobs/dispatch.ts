/**
 * Claims waiting jobs for the queues: state pending or failed becomes queued. The caller adds the queue entries after
 * the commit; a job whose entry is lost goes back to pending (see queued.ts).
 */
import type { Queryable, Sql } from '../db/connect.ts';
import { isRowFault, lockTimeout } from '../db/row-faults.ts';
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
  failing?: FailingTenants,
): Promise<DispatchedJob[]> {
  const wanted = capacities.filter(({ capacity }) => capacity > 0);
  if (wanted.length === 0) return [];
  const skipped = failing?.list() ?? [];
  try {
    return await claimJobs(sql, wanted, { skipped });
  } catch (error) {
    if (failing === undefined || !isRowFault(error)) throw error;
    return claimTenantByTenant(sql, wanted, skipped, failing);
  }
}

/** Tenants whose jobs made a claim fail; they are skipped for a while (see failing-tenants.ts). */
export interface FailingTenants {
  list(): readonly string[];
  add(tenantId: string, error: unknown): void;
}

interface TenantChoice {
  readonly skipped: readonly string[];
  /** Only this tenant. Default: all. */
  readonly only?: string;
}

async function claimJobs(
  sql: Sql,
  capacities: readonly TypeCapacity[],
  choice: TenantChoice,
): Promise<DispatchedJob[]> {
  return sql.begin(async (tx) => {
    const paused = await pausesDuringClaim(tx);
    const types = capacities.filter(({ jobType }) => !paused.jobTypes.has(jobType));
    if (paused.all || types.length === 0) return [];
    const skipped = [...choice.skipped, ...paused.tenantIds];
    const tenantIds = await lockTenantsWithWork(tx, types, { ...choice, skipped });
    if (tenantIds.length === 0) return [];
    const jobs = await queueJobsRoundRobin(tx, types, tenantIds);
    await recordDispatchTime(tx, jobs);
    return jobs;
  });
}

/** After a claim that failed by the fault of a row: each tenant gets an equal share, and only those that fail again get none. */
async function claimTenantByTenant(
  sql: Sql,
  capacities: readonly TypeCapacity[],
  skipped: readonly string[],
  failing: FailingTenants,
): Promise<DispatchedJob[]> {
  const rows = await sql<{ id: string }[]>`
    select q.tenant_id as id from public.tenant_queues q
    where q.tenant_id <> all(${skipped}::text[]) and exists (
      select from public.background_jobs j
      where j.tenant_id = q.tenant_id and j.state in ('pending', 'failed') and j.scheduled_for <= now())
    order by q.last_dispatched_at, q.tenant_id limit ${maxTenantsPerClaim}`;
  const left = new Map(capacities.map(({ jobType, capacity }) => [jobType, capacity]));
  const claimed: DispatchedJob[] = [];
  for (const { id } of rows) {
    const shares = capacities.map(({ jobType, capacity }) => ({
      jobType,
      capacity: Math.min(left.get(jobType) ?? 0, Math.ceil(capacity / rows.length)),
    }));
    const open = shares.filter(({ capacity }) => capacity > 0);
    if (open.length === 0) break;
    try {
      const jobs = await claimJobs(sql, open, { skipped, only: id });
      for (const { jobType } of jobs) left.set(jobType, (left.get(jobType) ?? 0) - 1);
      claimed.push(...jobs);
    } catch (error) {
      if (!isRowFault(error)) throw error;
      failing.add(id, error);
    }
  }
  return claimed;
}

/**
 * Locks the queue rows of tenants that have due work of these types and returns their ids, longest unserved first.
 * The recursive CTE is a loose index scan: one index probe per tenant, however many jobs the tenant has.
 */
async function lockTenantsWithWork(
  tx: Queryable,
  types: readonly TypeCapacity[],
  { skipped, only }: TenantChoice,
): Promise<string[]> {
  const rows = await tx<{ tenant_id: string }[]>`
    with recursive ${lockTimeout(tx)}, waiting_tenant as (
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
    where exists (select from lock_timeout) and q.tenant_id <> all(${skipped}::text[])
      and (${only ?? null}::text is null or q.tenant_id = ${only ?? null}) and exists (
      select from public.background_jobs j
      where j.tenant_id = q.tenant_id and j.state in ('pending', 'failed')
        and j.job_type = any(${types.map(({ jobType }) => jobType)}::text[]) and j.scheduled_for <= now())
    order by q.last_dispatched_at, q.tenant_id
    limit ${maxTenantsPerClaim}
    for no key update of q skip locked`;
  return rows.map(({ tenant_id }) => tenant_id);
}

/**
 * tenant_rank: position of the tenant in `tenantIds`. job_rank: position of the job within its tenant and type.
 * type_rank: position of the job within its type, over all tenants; the first `capacity` of them are queued, and
 * returned in this order.
 */
async function queueJobsRoundRobin(
  tx: Queryable,
  types: readonly TypeCapacity[],
  tenantIds: readonly string[],
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
          and j.state in ('pending', 'failed') and j.scheduled_for <= now()
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
    ), queued as (
      update public.background_jobs j
      set state = 'queued', dispatch_no = j.dispatch_no + 1, queued_at = now(), state_detail = '{}'
      from unlocked u
      where j.id = u.id
      returning j.id, j.job_type, j.tenant_id, j.dispatch_no, j.priority
    )
    select q.id as "jobId", q.job_type as "jobType", q.tenant_id as "tenantId", q.dispatch_no as "dispatchNo", q.priority
    from queued q join ranked r on r.id = q.id order by r.type_rank, q.job_type`;
}

async function recordDispatchTime(tx: Queryable, jobs: readonly DispatchedJob[]): Promise<void> {
  const tenantIds = [...new Set(jobs.map(({ tenantId }) => tenantId))];
  await tx`
    update public.tenant_queues set last_dispatched_at = now() where tenant_id = any(${tenantIds}::text[])`;
}
