/**
 * What brings waiting and lost jobs back or to their end: leases that passed, budgets that have room
 * again, patience that ran out, keys and doors that expired. Each function is one statement.
 */
import type { Queryable } from '../db/connect.ts';

/**
 * Losses after which a job is blamed for its workers' deaths. A worker's death is a loss of every job that it
 * was running, so an innocent one needs room for a few.
 */
const maxLosses = 5;
const perSweep = 500;

export interface Rescued {
  readonly requeued: number;
  readonly deadLettered: number;
}

/**
 * Takes running jobs back whose lease passed: attempt-free, counted as a loss; the fifth loss ends the
 * job as `worker_lost`. The token goes first, so that the old attempt can no longer commit anything.
 */
export async function rescueLostAttempts(sql: Queryable, now: Date): Promise<Rescued> {
  const rows = await sql<{ state: string }[]>`
    with lost as materialized (
      -- The token is the gate that finish takes first too; one that a commit holds is left for the next sweep.
      select l.job_id, l.token, l.worker_id
      from purser.job_leases l join purser.context_tokens t on t.token = l.token
      where l.expires_at < ${now} order by l.job_id limit ${perSweep} for update of t skip locked
    ), closed as (
      delete from purser.context_tokens t using lost where t.token = lost.token
    ), released as (
      delete from purser.job_leases l using lost where l.job_id = lost.job_id and l.token = lost.token
    )
    update public.background_jobs j
    set state = case when j.losses + 1 >= ${maxLosses} then 'dead_letter' else 'pending' end,
        losses = j.losses + 1, attempt = j.attempt - 1, lease_owner = null, attempt_token = null,
        error = case when j.losses + 1 >= ${maxLosses} then jsonb_build_object('code', 'worker_lost',
          'message', format('the worker died or fell silent %s times while it ran this job', j.losses + 1))
          else j.error end,
        finished_at = case when j.losses + 1 >= ${maxLosses} then clock_timestamp() end,
        state_detail = jsonb_build_object('reason', 'worker lost', 'worker', lost.worker_id)
    from lost
    where j.id = lost.job_id and j.state = 'running' and j.attempt_token = lost.token
    returning j.state`;
  const deadLettered = rows.filter(({ state }) => state === 'dead_letter').length;
  return { requeued: rows.length - deadLettered, deadLettered };
}

/** Ends jobs that have waited for longer than their type's patience. */
export async function expireWaitingJobs(sql: Queryable, now: Date): Promise<number> {
  const expired = await sql`
    update public.background_jobs j
    set state = 'dead_letter', finished_at = clock_timestamp(), state_detail = '{"reason": "expired"}',
        error = jsonb_build_object('code', 'expired',
          'message', format('waited in state %s until its patience ended (giveUpAfter)', j.state))
    from (
      select id from public.background_jobs
      where state in ('pending', 'queued', 'failed', 'parked') and give_up_at < ${now}
      order by give_up_at limit ${perSweep} for update skip locked
    ) e
    where j.id = e.id`;
  return expired.count;
}

/**
 * Wakes parked jobs: all whose time has come, and of the rest, in priority order, those whose hold fits
 * what their tenant's budget has left, together. A woken job keeps `needed_usd` until its attempt ends, and
 * what is awake already is counted: a small top-up does not wake the whole queue sweep by sweep.
 */
export async function wakeParkedJobs(sql: Queryable, now: Date): Promise<number> {
  const woken = await sql`
    with awake as (
      select tenant_id, sum(needed_usd) as needed_usd from public.background_jobs
      where needed_usd is not null and state in ('pending', 'queued', 'running') group by tenant_id
    ), fitting as (
      select p.id, p.scheduled_for <= ${now} as due, b.hard_limit,
             coalesce(a.needed_usd, 0) + sum(p.needed_usd) over (partition by p.tenant_id
               order by p.priority desc, p.scheduled_for, p.id) as needed_so_far,
             b.available_usd
      from public.background_jobs p
      left join public.llm_budget_status b on b.tenant_id = p.tenant_id
      left join awake a on a.tenant_id = p.tenant_id
      where p.state = 'parked'
    )
    update public.background_jobs j
    set state = 'pending', scheduled_for = ${now},
        give_up_at = ${now}::timestamptz + t.give_up_after_ms * interval '1 millisecond',
        state_detail = jsonb_build_object('reason', case when f.due then 'parked until now' else 'budget has room' end)
    from fitting f, public.job_types t
    where j.id = f.id and j.state = 'parked' and t.job_type = j.job_type
      and (f.due or f.hard_limit is false or f.needed_so_far <= f.available_usd)`;
  return woken.count;
}

/** Removes dedup keys that expired and whose job has ended, and operators' doors that timed out. */
export async function removeExpiredKeys(sql: Queryable, now: Date): Promise<number> {
  const removed = await sql`
    with doors as (
      delete from purser.context_tokens where job_id is null and expires_at < ${now}
    )
    delete from public.job_keys k using (
      select k.tenant_id, k.job_type, k.dedup_key from public.job_keys k
      left join public.background_jobs j on j.id = k.job_id
      where k.expires_at < ${now} and (j.id is null or j.finished_at is not null)
      limit ${perSweep * 10}
    ) e
    where k.tenant_id = e.tenant_id and k.job_type = e.job_type and k.dedup_key = e.dedup_key`;
  return removed.count;
}
