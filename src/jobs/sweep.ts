/**
 * Statements of the sweep: takes over attempts with an expired lease, wakes parked jobs, ends jobs that waited too
 * long, and removes expired dedup keys and operator tokens.
 */
import type { Queryable } from '../db/connect.ts';
import { sharedCrashesOfSuspect } from './attempts.ts';

/** Crashes of a process of its own after which a job becomes a dead letter. */
const maxIsolatedCrashes = 3;
/** Maximum rows per statement. */
export const maxRowsPerSweep = 500;

export interface Rescued {
  readonly requeued: number;
  readonly deadLettered: number;
  /** Their cancellation had been requested. */
  readonly cancelled: number;
}

/**
 * Returns running jobs with an expired lease to pending, without counting the attempt. The crash of a shared process is
 * counted, and the second makes the job a suspect; the third crash of a process of its own ends the job as
 * `worker_lost`. The token is deleted first, so that the old attempt cannot commit anything more.
 */
export async function rescueLostAttempts(sql: Queryable, now: Date): Promise<Rescued> {
  const rows = await sql<{ state: string }[]>`
    with lost as materialized (
      -- Token before lease, as in finish. Rows locked by a commit, a finish, a renewal or a request to cancel are left
      -- for the next sweep.
      select l.job_id, l.token, l.worker_id, l.alone, l.cancel_requested
      from purser.job_leases l join purser.context_tokens t on t.token = l.token
      where l.expires_at < ${now} order by l.job_id limit ${maxRowsPerSweep} for update of l, t skip locked
    ), closed as (
      delete from purser.context_tokens t using lost where t.token = lost.token
    ), released as (
      delete from purser.job_leases l using lost where l.job_id = lost.job_id and l.token = lost.token
    ), outcome as (
      select lost.*, case when cancel_requested is not null then 'cancelled'
          when alone and j.losses_alone + 1 >= ${maxIsolatedCrashes} then 'dead_letter' else 'pending' end as state
      from lost join public.background_jobs j on j.id = lost.job_id
    )
    update public.background_jobs j
    set state = o.state, lease_owner = null, attempt_token = null,
        attempt = j.attempt - case when o.state = 'cancelled' then 0 else 1 end,
        losses = j.losses + case when o.alone then 0 else 1 end,
        losses_alone = j.losses_alone + case when o.alone then 1 else 0 end,
        suspect = j.suspect or o.alone or j.losses + 1 >= ${sharedCrashesOfSuspect},
        give_up_at = j.give_up_at + (clock_timestamp() - j.started_at),
        error = case when o.state = 'dead_letter' then jsonb_build_object('code', 'worker_lost', 'message',
            format('the process that ran only this job crashed or lost its lease %s times', j.losses_alone + 1))
          else j.error end,
        finished_at = case when o.state <> 'pending' then clock_timestamp() end,
        state_detail = case when o.state = 'cancelled'
          then jsonb_build_object('by', o.cancel_requested->'by', 'reason', o.cancel_requested->'reason')
          else jsonb_build_object('reason', 'worker lost', 'worker', o.worker_id, 'isolated', o.alone) end
    from outcome o
    where j.id = o.job_id and j.state = 'running' and j.attempt_token = o.token
    returning j.state`;
  const count = (wanted: string): number => rows.filter(({ state }) => state === wanted).length;
  return {
    requeued: count('pending'),
    deadLettered: count('dead_letter'),
    cancelled: count('cancelled'),
  };
}

/** Ends jobs that have waited for longer than giveUpAfter of their type. */
export async function expireWaitingJobs(sql: Queryable, now: Date): Promise<number> {
  const expired = await sql`
    update public.background_jobs j
    set state = 'dead_letter', finished_at = clock_timestamp(), state_detail = '{"reason": "expired"}',
        error = jsonb_build_object('code', 'expired',
          'message', format('waited in state %s for longer than giveUpAfter', j.state))
    from (
      select id from public.background_jobs
      where state in ('pending', 'queued', 'failed', 'parked') and give_up_at < ${now}
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

/** Removes expired dedup keys of ended jobs, and expired operator tokens. */
export async function removeExpiredKeys(sql: Queryable, now: Date): Promise<number> {
  const removed = await sql`
    with operator_tokens as (
      delete from purser.context_tokens where job_id is null and expires_at < ${now}
    )
    delete from public.job_keys k using (
      select k.tenant_id, k.job_type, k.dedup_key from public.job_keys k
      left join public.background_jobs j on j.id = k.job_id
      where k.expires_at < ${now} and (j.id is null or j.finished_at is not null)
      limit ${maxRowsPerSweep * 10}
    ) e
    where k.tenant_id = e.tenant_id and k.job_type = e.job_type and k.dedup_key = e.dedup_key`;
  return removed.count;
}
