/**
 * Statements of the sweep: takes over attempts with an expired lease (their jobs are suspects after two dead workers), wakes parked jobs, ends jobs that waited too
 * long, and removes expired dedup keys and operator tokens. The database's clock decides what is due. Rows locked by
 * another transaction are skipped, and a row that cannot be changed does not keep the others.
 */
import type { Fragment, Queryable } from '../db/connect.ts';
import { lockTimeout, runBatch } from '../db/row-faults.ts';
import type { SweepStatementOptions } from '../db/row-faults.ts';
import { sharedCrashesOfSuspect } from './attempts.ts';

/** Longest wait of a job that ran alone when its worker died. */
const maxIsolatedDelaySeconds = 600;
/** Maximum rows per statement. */
export const maxRowsPerSweep = 500;

type Ids = readonly string[] | undefined;

const idsOf = (rows: readonly { readonly id: string }[]): string[] => rows.map(({ id }) => id);

export interface Rescued {
  readonly requeued: number;
  /** Their cancellation had been requested. */
  readonly cancelled: number;
}

/**
 * Returns running jobs with an expired lease to pending, without counting the attempt. The second death of a worker
 * makes a job a suspect. A job that ran alone is not blamed for the death of its worker (only for that of its own
 * process, which the worker reports); as it may still be the cause, by its memory, it waits longer each time.
 */
export async function rescueLostAttempts(
  sql: Queryable,
  { offsetMs = 0, onRowFault }: SweepStatementOptions = {},
): Promise<Rescued> {
  const states: string[] = [];
  await runBatch({
    run: async (ids) => {
      const rescued = await endExpiredLeases(sql, offsetMs, ids);
      states.push(...rescued);
      return rescued.length;
    },
    list: async () =>
      idsOf(
        await sql`
          select job_id as id from purser.job_leases
          where expires_at < now() + ${offsetMs} * interval '1 millisecond'
          order by job_id limit ${maxRowsPerSweep}`,
      ),
    onRowFault,
  });
  const count = (wanted: string): number => states.filter((state) => state === wanted).length;
  return {
    requeued: count('pending'),
    cancelled: count('cancelled'),
  };
}

/** The token is deleted first, so that the old attempt cannot commit anything more. Returns the jobs' new states. */
async function endExpiredLeases(sql: Queryable, offsetMs: number, ids: Ids): Promise<string[]> {
  const rows = await sql<{ state: string }[]>`
    with ${lockTimeout(sql)}, expired as materialized (
      -- Token before lease before job, as in finish. Rows locked by a commit, a finish, a renewal, a request to cancel
      -- or a rotation of payloads are left for the next sweep.
      select l.job_id, l.token, l.worker_id, l.alone, l.cancel_requested
      from purser.job_leases l join purser.context_tokens t on t.token = l.token
      where exists (select from lock_timeout) and l.expires_at < now() + ${offsetMs} * interval '1 millisecond'
        ${ids === undefined ? sql`` : sql`and l.job_id = any(${[...ids]}::bigint[])`}
      order by l.job_id limit ${maxRowsPerSweep} for update of l, t skip locked
    ), lost as materialized (
      select e.* from expired e cross join lateral (
        select from public.background_jobs where id = e.job_id for no key update skip locked) j
    ), closed as (
      delete from purser.context_tokens t using lost where t.token = lost.token
    ), released as (
      delete from purser.job_leases l using lost where l.job_id = lost.job_id and l.token = lost.token
    ), outcome as (
      select lost.*, case when cancel_requested is not null then 'cancelled' else 'pending' end as state from lost
    )
    update public.background_jobs j
    set state = o.state, lease_owner = null, attempt_token = null,
        attempt = j.attempt - case when o.state = 'cancelled' then 0 else 1 end,
        losses = j.losses + 1, suspect = j.suspect or o.alone or j.losses + 1 >= ${sharedCrashesOfSuspect},
        scheduled_for = case when o.alone
          then now() + least(2 ^ least(j.losses, 20), ${maxIsolatedDelaySeconds}) * interval '1 second'
          else j.scheduled_for end,
        give_up_at = j.give_up_at + (clock_timestamp() - j.started_at),
        finished_at = case when o.state <> 'pending' then clock_timestamp() end,
        state_detail = case when o.state = 'cancelled'
          then jsonb_build_object('by', o.cancel_requested->'by', 'reason', o.cancel_requested->'reason')
          else jsonb_build_object('reason', 'worker lost', 'worker', o.worker_id, 'isolated', o.alone) end
    from outcome o
    where j.id = o.job_id and j.state = 'running' and j.attempt_token = o.token
    returning j.state`;
  return rows.map(({ state }) => state);
}

/** Ends jobs that have waited for longer than giveUpAfter of their type. */
export async function expireWaitingJobs(
  sql: Queryable,
  { offsetMs = 0, onRowFault }: SweepStatementOptions = {},
): Promise<number> {
  const late = sql`
    state in ('pending', 'queued', 'failed', 'parked') and give_up_at < now() + ${offsetMs} * interval '1 millisecond'`;
  return runBatch({
    run: (ids) => endWaitingJobs(sql, late, ids),
    list: async () =>
      idsOf(
        await sql`
          select id from public.background_jobs where ${late} order by give_up_at limit ${maxRowsPerSweep}`,
      ),
    onRowFault,
  });
}

async function endWaitingJobs(sql: Queryable, late: Fragment, ids: Ids): Promise<number> {
  const expired = await sql`
    with ${lockTimeout(sql)}
    update public.background_jobs j
    set state = 'dead_letter', finished_at = clock_timestamp(), state_detail = '{"reason": "expired"}',
        error = jsonb_build_object('code', 'expired',
          'message', format('waited in state %s for longer than giveUpAfter', j.state))
    from (
      select id from public.background_jobs
      where exists (select from lock_timeout) and ${late}
        ${ids === undefined ? sql`` : sql`and id = any(${[...ids]}::bigint[])`}
      order by give_up_at limit ${maxRowsPerSweep} for update skip locked
    ) e
    where j.id = e.id`;
  return expired.count;
}

/**
 * Wakes parked jobs: all that are due, and of the others, by priority, as many as their tenant's available budget
 * covers. A woken job keeps `needed_usd` until its attempt ends and is counted against that budget, so that a small
 * top-up does not wake more jobs in every sweep.
 */
export async function wakeParkedJobs(
  sql: Queryable,
  { offsetMs = 0, onRowFault }: SweepStatementOptions = {},
): Promise<number> {
  return runBatch({
    run: (ids) => wakeFittingJobs(sql, offsetMs, ids),
    list: async () =>
      idsOf(await sql`select id from public.background_jobs where state = 'parked' order by id`),
    onRowFault,
  });
}

async function wakeFittingJobs(sql: Queryable, offsetMs: number, ids: Ids): Promise<number> {
  const woken = await sql`
    with ${lockTimeout(sql)}, awake as (
      select tenant_id, sum(needed_usd) as needed_usd from public.background_jobs
      where needed_usd is not null and state in ('pending', 'queued', 'running') group by tenant_id
    ), parked as (
      select p.id, p.scheduled_for <= now() + ${offsetMs} * interval '1 millisecond' as due, b.hard_limit,
             coalesce(a.needed_usd, 0) + sum(p.needed_usd) over (partition by p.tenant_id
               order by p.priority desc, p.scheduled_for, p.id) as needed_so_far,
             b.available_usd
      from public.background_jobs p
      left join public.llm_budget_status b on b.tenant_id = p.tenant_id
      left join awake a on a.tenant_id = p.tenant_id
      where p.state = 'parked'
    ), unlocked as materialized (
      select j.id, p.due from public.background_jobs j join parked p on p.id = j.id
      where exists (select from lock_timeout) and j.state = 'parked'
        and (p.due or p.hard_limit is false or p.needed_so_far <= p.available_usd)
        ${ids === undefined ? sql`` : sql`and j.id = any(${[...ids]}::bigint[])`}
      for no key update of j skip locked
    )
    update public.background_jobs j
    set state = 'pending', scheduled_for = now(),
        give_up_at = now() + t.give_up_after_ms * interval '1 millisecond',
        state_detail = jsonb_build_object('reason', case when u.due then 'parked until now' else 'budget has room' end)
    from unlocked u, public.job_types t
    where j.id = u.id and t.job_type = j.job_type`;
  return woken.count;
}

/** Removes expired keys of ended jobs and of ticks, and expired operator tokens. Returns the number of keys. */
export async function removeExpiredKeys(sql: Queryable): Promise<number> {
  const [removed] = await sql<{ keys: number }[]>`
    with ${lockTimeout(sql)}, expired_token as (
      select token from purser.context_tokens
      where exists (select from lock_timeout) and job_id is null and expires_at < now()
      limit ${maxRowsPerSweep * 10} for update skip locked
    ), operator_tokens as (
      delete from purser.context_tokens t using expired_token e where t.token = e.token
    ), expired_tick as (
      select k.tenant_id, k.job_type, k.bucket from purser.tick_keys k
      where exists (select from lock_timeout) and k.expires_at < now()
        and not exists (select from public.background_jobs j where j.id = k.job_id and j.finished_at is null)
      limit ${maxRowsPerSweep * 10} for update of k skip locked
    ), ticks as (
      delete from purser.tick_keys k using expired_tick e
      where k.tenant_id = e.tenant_id and k.job_type = e.job_type and k.bucket = e.bucket
      returning k.job_id
    ), expired_key as (
      select k.tenant_id, k.job_type, k.dedup_key from public.job_keys k
      where exists (select from lock_timeout) and k.expires_at < now()
        and not exists (select from public.background_jobs j where j.id = k.job_id and j.finished_at is null)
      limit ${maxRowsPerSweep * 10} for update of k skip locked
    ), keys as (
      delete from public.job_keys k using expired_key e
      where k.tenant_id = e.tenant_id and k.job_type = e.job_type and k.dedup_key = e.dedup_key
      returning k.job_id
    )
    select ((select count(*) from keys) + (select count(*) from ticks))::int as keys`;
  return removed?.keys ?? 0;
}
