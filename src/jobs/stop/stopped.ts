/**
 * Jobs under a stop, which is a pause that hands back what is in flight. Workers read it with the leases that they renew
 * (cancel.ts) and hand their jobs back; what is queued is returned here, by who stops it and by each sweep.
 */
import type { Fragment, Queryable } from '../../db/connect.ts';
import type { PauseTarget } from '../pauses.ts';

const maxJobsPerBatch = 1_000;

/** Returns all queued jobs that are under a stop to waiting, none of which another transaction has locked. */
export async function returnStopped(sql: Queryable): Promise<number> {
  let total = 0;
  for (let more = true; more;) {
    const [row] = await sql<{ returned: number }[]>`
      select purser.return_stopped(${maxJobsPerBatch}) as returned`;
    const returned = row?.returned ?? 0;
    total += returned;
    more = returned === maxJobsPerBatch;
  }
  return total;
}

/** Ids in ascending order. */
export interface InFlightJobs {
  readonly running: readonly string[];
  readonly queued: readonly string[];
}

/** Reads only what is in flight, however many jobs wait. */
export async function listInFlight(sql: Queryable, target: PauseTarget): Promise<InFlightJobs> {
  const rows = await sql<{ id: string; isRunning: boolean }[]>`
    select s.job_id as id, s.token is not null as "isRunning"
    from purser.in_flight s where ${isOf(sql, target)} order by s.job_id`;
  return {
    running: rows.filter(({ isRunning }) => isRunning).map(({ id }) => id),
    queued: rows.filter(({ isRunning }) => !isRunning).map(({ id }) => id),
  };
}

/** Open jobs of a target. */
export interface OpenJobs {
  /** Due, also after a failure. */
  readonly waiting: number;
  readonly later: number;
  readonly parked: number;
  readonly queued: number;
  readonly running: number;
  /** Tenants of all of them but the running ones. */
  readonly tenants: number;
}

/** One snapshot. Reads every open job. */
export async function countOpenJobs(sql: Queryable, target: PauseTarget): Promise<OpenJobs> {
  const ofTarget = isOf(sql, target);
  const [counts] = await sql<OpenJobs[]>`
    with open as (
      select 'waiting' as state, s.tenant_id from purser.waiting s where ${ofTarget}
      union all select 'later', s.tenant_id from purser.later s where ${ofTarget}
      union all select 'parked', s.tenant_id from purser.parked s where ${ofTarget}
      union all
      select case when s.token is null then 'queued' else 'running' end, s.tenant_id
      from purser.in_flight s where ${ofTarget}
    )
    select count(*) filter (where state = 'waiting')::int as waiting, count(*) filter (where state = 'later')::int as later,
           count(*) filter (where state = 'parked')::int as parked, count(*) filter (where state = 'queued')::int as queued,
           count(*) filter (where state = 'running')::int as running,
           count(distinct tenant_id) filter (where state <> 'running')::int as tenants
    from open`;
  if (counts === undefined) throw new Error('a count returned no row');
  return counts;
}

const isOf = (sql: Queryable, { scope, name }: PauseTarget): Fragment =>
  sql`(${scope} = 'all' or ${scope} = 'job_type' and s.job_type = ${name} or ${scope} = 'tenant' and s.tenant_id = ${name})`;

/** The largest id that a job has so far; '0' without jobs. */
export async function newestJobId(sql: Queryable): Promise<string> {
  const [row] = await sql<{ id: string }[]>`
    select coalesce(max(id), 0)::text as id from public.jobs`;
  return row?.id ?? '0';
}

export interface DiscardRange {
  readonly afterId: string;
  readonly upToId: string;
  /** Stay as they are. */
  readonly sparedIds: readonly string[];
}

export interface DiscardedBatch {
  readonly jobIds: readonly string[];
  /** Where the next batch goes on; undefined after the last one. */
  readonly lastId: string | undefined;
}

/**
 * Ends at most 1,000 jobs of a target that have not begun as cancelled, in the order of ids. Rows that another
 * transaction has locked are left out.
 */
export async function discardBatch(
  sql: Queryable,
  { scope, name }: PauseTarget,
  { afterId, upToId, sparedIds }: DiscardRange,
  { by, reason }: { readonly by: string; readonly reason: string },
): Promise<DiscardedBatch> {
  const [batch] = await sql<{ jobIds: string[]; lastId: string | null }[]>`
    select ended::text[] as "jobIds", last_id::text as "lastId"
    from purser.discard_waiting(${scope}, ${name}, ${afterId}, ${upToId}, ${sparedIds}::bigint[], ${maxJobsPerBatch},
      ${by}, ${reason})`;
  return { jobIds: batch?.jobIds ?? [], lastId: batch?.lastId ?? undefined };
}
