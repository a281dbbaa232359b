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
  /** It travels by itself and does not begin ahead: a worker died with it, or a limit counts its start. */
  readonly alone: boolean;
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
      alone, priority
    from commit_policy, purser.dispatch_jobs(${capacities.map(({ jobType }) => jobType)}::text[],
      ${capacities.map(({ capacity }) => capacity)}::int[],
      ${capacities.map(({ chunk = 1 }) => chunk)}::int[],
      ${capacities.map(({ workers = 1 }) => workers)}::int[], ${skipped}::text[], ${only ?? null})`;
}

/**
 * After a claim that failed by the fault of a row: the tenants of its round, in its order, get an equal share each, so that
 * the one at fault is among them, and is found.
 */
async function claimTenantByTenant(
  sql: Queryable,
  capacities: readonly TypeCapacity[],
  skipped: readonly string[],
  failing: FailingTenants,
): Promise<DispatchedJob[]> {
  const claimed: DispatchedJob[] = [];
  const left = [...skipped];
  for (const wanted of capacities) {
    const ids = await tenantsOfRound(sql, wanted, left);
    const share = Math.max(1, Math.floor(wanted.capacity / Math.max(1, ids.length)));
    let room = wanted.capacity;
    for (const only of ids) {
      if (room === 0) break;
      try {
        const capacity = Math.min(room, share);
        const jobs = await claimJobs(sql, [{ ...wanted, capacity }], { skipped: left, only });
        room -= jobs.length;
        claimed.push(...jobs);
      } catch (error) {
        if (!isRowFault(error)) throw error;
        failing.add(only, error);
        left.push(only);
      }
    }
  }
  return claimed;
}

/** In the order in which purser.dispatch_jobs takes them: those that are owed, the current one, and the others. */
async function tenantsOfRound(
  sql: Queryable,
  { jobType, capacity }: TypeCapacity,
  skipped: readonly string[],
): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select t.id from (values (${jobType}::text, ${capacity}::int)) c (job_type, room)
    left join purser.dispatch_turns d on d.job_type = c.job_type
    cross join lateral unnest((coalesce(d.owed_tenant_ids, '{}'))[:greatest(1, c.room / 2)]
      || case when d.left_of_turn > 0 then array[d.last_tenant_id] else '{}' end
      || (select n.tenant_ids from purser.tenants_in_turn(c.job_type, coalesce(d.last_tenant_id, ''), null,
            ${skipped}::text[], c.room + 10, true, null, '{}', 1) n)
      || (select n.tenant_ids from purser.tenants_in_turn(c.job_type, '', d.last_tenant_id,
            ${skipped}::text[], c.room + 10, true, null, '{}', 1) n)
    ) with ordinality t (id, place)
    where t.id <> all(${skipped}::text[])
    order by t.place`;
  return [...new Set(rows.map(({ id }) => id))];
}
