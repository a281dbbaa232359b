/**
 * Claims waiting jobs for the queues: they move from waiting to in_flight. The caller adds the queue entries after
 * the commit; a job whose entry is lost goes back to pending (see queued.ts).
 */
import { mayBeLost } from './commit-policy.ts';
import type { Queryable } from '../db/connect.ts';
import { isRowFault } from '../db/row-faults.ts';

export interface DispatchedJob {
  readonly jobId: string;
  readonly jobType: string;
  readonly tenantId: string;
  /** The queue entry that it travels in, with other jobs of its type. */
  readonly entryId: string;
  /** A worker or an executor died with it: it travels alone. */
  readonly wasLost: boolean;
  readonly priority: number;
}

export interface TypeCapacity {
  readonly jobType: string;
  /** How many more jobs of this type the queue should hold. */
  readonly capacity: number;
  /** Most jobs per entry. Default 1. */
  readonly chunk?: number;
  /** Live workers with handlers for the type: each gets an entry. Default 1. */
  readonly workers?: number;
}

/** On which an enqueue wakes a dispatcher, if its job will be due within `listeningEveryMs`. */
export const dispatchChannel = 'purser_dispatch';
/** As in purser.wake_dispatcher. */
export const listeningEveryMs = 1_000;

export interface Work {
  /** Types that have a due job, paused ones included. */
  readonly jobTypes: readonly string[];
  /** Until the next job of those that wait for their time is due; Infinity without one. */
  readonly dueInMs: number;
}

/**
 * Looks for due jobs: an index probe per type. Where there are some, no enqueue wakes a dispatcher for `awakeMs`: the
 * caller looks again within that time. With `listens` the connection hears what an enqueue sends to `dispatchChannel`
 * from now on: not through a pooler, whose next client would hear it. Otherwise, and after `listeningEveryMs`, the caller
 * has to look by itself.
 */
export async function lookForWork(sql: Queryable, awakeMs: number, listens = false): Promise<Work> {
  const rows = await sql<{ jobType: string | null; dueInMs: number | null }[]>`
    with ${mayBeLost(sql)}
    select job_type as "jobType", due_in_ms as "dueInMs"
    from commit_policy, purser.types_with_work(${awakeMs} * interval '1 millisecond', ${listens})`;
  return {
    jobTypes: rows.flatMap(({ jobType }) => jobType ?? []),
    dueInMs: rows.find(({ dueInMs }) => dueInMs !== null)?.dueInMs ?? Infinity,
  };
}

/**
 * Claims at most `capacity` jobs per job type in one short transaction, by turns: every tenant's first job comes before
 * any tenant's second job, and each claim of a type goes on after the tenant that the last one ended with. Within a
 * tenant, jobs are ordered by priority, then by due time. Paused types and tenants are skipped. Several dispatchers may
 * run at once; each skips the types that another one serves at this moment, and jobs that another transaction has locked.
 */
export async function claimWaitingJobs(
  sql: Queryable,
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
  sql: Queryable,
  capacities: readonly TypeCapacity[],
  { skipped, only }: TenantChoice,
): Promise<DispatchedJob[]> {
  return sql<DispatchedJob[]>`
    with ${mayBeLost(sql)}
    select job_id as "jobId", job_type as "jobType", tenant_id as "tenantId", entry_id as "entryId",
      was_lost as "wasLost", priority
    from commit_policy, purser.dispatch_jobs(${capacities.map(({ jobType }) => jobType)}::text[],
      ${capacities.map(({ capacity }) => capacity)}::int[],
      ${capacities.map(({ chunk = 1 }) => chunk)}::int[],
      ${capacities.map(({ workers = 1 }) => workers)}::int[], ${skipped}::text[], ${only ?? null})`;
}

/**
 * After a claim that failed by the fault of a row: each tenant of its round gets an equal share, and only those that fail
 * again get none.
 */
async function claimTenantByTenant(
  sql: Queryable,
  capacities: readonly TypeCapacity[],
  skipped: readonly string[],
  failing: FailingTenants,
): Promise<DispatchedJob[]> {
  const rows = await sql<{ id: string }[]>`
    select distinct t.id from unnest(
      ${capacities.map(({ jobType }) => jobType)}::text[], ${capacities.map(({ capacity }) => capacity)}::int[]
    ) c (job_type, room)
    left join purser.dispatch_turns d on d.job_type = c.job_type
    cross join lateral unnest(coalesce(d.owed_tenant_ids, '{}')
      || purser.tenants_in_turn(c.job_type, coalesce(d.last_tenant_id, ''), null, ${skipped}::text[], c.room + 10, true)
      || purser.tenants_in_turn(c.job_type, '', d.last_tenant_id, ${skipped}::text[], c.room + 10, true)) t (id)
    where t.id <> all(${skipped}::text[])`;
  const left = new Map(capacities.map(({ jobType, capacity }) => [jobType, capacity]));
  const claimed: DispatchedJob[] = [];
  for (const { id } of rows) {
    const shares = capacities.map((wanted) => ({
      ...wanted,
      capacity: Math.min(left.get(wanted.jobType) ?? 0, Math.ceil(wanted.capacity / rows.length)),
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
