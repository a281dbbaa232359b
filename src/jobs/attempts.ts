/**
 * Begin and finish of attempts. Begin is a compare-and-set on state and dispatch number; finish requires the
 * attempt's token and may be repeated. Both take many jobs and answer for each.
 */
import type { Queryable } from '../db/connect.ts';
import { lockTimeout } from '../db/row-faults.ts';
import type { JobState } from './states.ts';

export interface BeginRequest {
  readonly jobId: string;
  readonly dispatchNo: number;
  /** A random UUID: the attempt's fencing token. */
  readonly token: string;
}

export interface BegunAttempt {
  readonly jobId: string;
  readonly tenantId: string;
  readonly jobType: string;
  readonly payload: unknown;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly token: string;
  /** The job is a suspect: it runs in a process of its own. */
  readonly isolated: boolean;
  /** Crashes of that process since the last attempt that ended without one. */
  readonly isolatedCrashes: number;
  readonly createdAt: Date;
  readonly scheduledFor: Date;
}

const byJobId = (a: { readonly jobId: string }, b: { readonly jobId: string }): number =>
  Number(BigInt(a.jobId) - BigInt(b.jobId));

/**
 * Starts attempts and leases them to `workerId` for `leaseMs`. Stale requests (job dispatched again, cancelled or
 * ended) are missing from the answer. A repeated request, after a lost answer, returns the attempt that it started.
 */
export async function beginAttempts(
  sql: Queryable,
  requests: readonly BeginRequest[],
  workerId: string,
  leaseMs: number,
): Promise<BegunAttempt[]> {
  const sorted = requests.toSorted(byJobId);
  const attempt = sql`
    id as "jobId", tenant_id as "tenantId", job_type as "jobType", payload, attempt,
    max_attempts as "maxAttempts", attempt_token as token, suspect as isolated,
    losses_alone as "isolatedCrashes",
    created_at as "createdAt", scheduled_for as "scheduledFor"`;
  return sql<BegunAttempt[]>`
    with ${lockTimeout(sql)}, request as materialized (
      select * from unnest(
        ${sorted.map(({ jobId }) => jobId)}::bigint[], ${sorted.map(({ dispatchNo }) => dispatchNo)}::int[],
        ${sorted.map(({ token }) => token)}::uuid[]) as r (job_id, dispatch_no, token)
    ), found as materialized (
      -- A repeated request that waited for the first one sees its attempt. CASE hides the state from the planner,
      -- which would otherwise scan an index on state instead of the ids.
      select j.*, r.token
      from public.background_jobs j join request r on r.job_id = j.id and r.dispatch_no = j.dispatch_no
      where exists (select from lock_timeout) and case j.state
        when 'queued' then true when 'running' then j.attempt_token = r.token else false end
      order by j.id for no key update of j
    ), begun as (
      update public.background_jobs j
      set state = 'running', attempt = j.attempt + 1, attempt_token = f.token, lease_owner = ${workerId},
          started_at = now(), state_detail = jsonb_build_object('worker', ${workerId}::text)
      from found f where j.id = f.id and f.state = 'queued'
      returning j.*
    ), opened as (
      insert into purser.context_tokens (token, tenant_id, job_id, attempt)
      select attempt_token, tenant_id, id, attempt from begun
    ), leased as (
      insert into purser.job_leases (job_id, token, worker_id, expires_at, alone)
      select id, attempt_token, ${workerId}, now() + ${leaseMs} * interval '1 millisecond', suspect from begun
      on conflict (job_id) do update
        set token = excluded.token, worker_id = excluded.worker_id, expires_at = excluded.expires_at,
            alone = excluded.alone, progress = null, cancel_requested = null
    )
    select ${attempt} from begun
    union all
    select ${attempt} from found where state = 'running'`;
}

export interface JobFault {
  readonly code: string;
  readonly message: string;
  readonly stack?: string;
  /** JSON. */
  readonly details?: unknown;
}

/** Crashes of a shared thread or process after which each job that ran there is a suspect. */
export const sharedCrashesOfSuspect = 2;

/** What the end of an attempt writes into the job's row. */
export interface AttemptEnd {
  readonly toState: Exclude<JobState, 'queued' | 'running'>;
  /** JSON; only for completed. */
  readonly result?: unknown;
  readonly error?: JobFault;
  /**
   * Earliest time of the next attempt (failed, pending, parked). For failed and pending its distance from the present
   * of this process is what counts, so that the database's clock decides when it is due.
   */
  readonly scheduledFor?: Date;
  /** false: returned or snoozed; the attempt is not counted. */
  readonly countsAttempt: boolean;
  readonly detail: Record<string, unknown>;
  /** Whether the next attempt runs isolated; false also resets the crash counts. Unset: unchanged. */
  readonly suspect?: boolean;
  /** Its thread or process crashed or was killed: one that other jobs shared, or one of its own. */
  readonly lost?: 'shared' | 'isolated';
  /** Decimal USD; only for parked: the refused hold. */
  readonly neededUsd?: string;
}

export interface FinishRequest {
  readonly jobId: string;
  readonly token: string;
  readonly end: AttemptEnd;
}

/** applied: by this call. repeated: by an earlier call with this token. stale: refused. */
export type FinishResult = 'applied' | 'repeated' | 'stale';

/**
 * Ends attempts. A token that is not the job's current one changes nothing and is answered `stale`. A job that would
 * run again is cancelled instead if that was requested. Lock order: tokens, leases, jobs, each by job id.
 */
export async function finishAttempts(
  sql: Queryable,
  requests: readonly FinishRequest[],
): Promise<Map<string, FinishResult>> {
  const rows = requests.toSorted(byJobId).map(({ jobId, token, end }) => ({
    job_id: jobId,
    token,
    to_state: end.toState,
    result: end.result ?? null,
    error: end.error ?? null,
    scheduled_for: end.toState === 'parked' ? (end.scheduledFor?.toISOString() ?? null) : null,
    delay_ms:
      end.toState === 'parked' || end.scheduledFor === undefined
        ? null
        : Date.parse(end.scheduledFor.toISOString()) - Date.now(),
    counts: end.countsAttempt,
    detail: end.detail,
    needed_usd: end.neededUsd ?? null,
    suspect: end.suspect ?? null,
    shared_loss: end.lost === 'shared' ? 1 : 0,
    isolated_loss: end.lost === 'isolated' ? 1 : 0,
  }));
  const answered = await sql<{ jobId: string; result: FinishResult }[]>`
    with ${lockTimeout(sql)}, request as materialized (
      select * from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as r (
        job_id bigint, token uuid, to_state text, result jsonb, error jsonb, scheduled_for timestamptz, delay_ms float8,
        counts boolean, detail jsonb, needed_usd numeric, suspect boolean, shared_loss int, isolated_loss int)
    ), gate as materialized (
      select t.token from purser.context_tokens t join request r on t.token = r.token and t.job_id = r.job_id
      where exists (select from lock_timeout) order by t.job_id for update of t
    ), closed as (
      delete from purser.context_tokens t using gate g where t.token = g.token returning t.token
    ), lease as materialized (
      select l.job_id, l.token, l.cancel_requested
      from purser.job_leases l join request r on l.job_id = r.job_id and l.token = r.token
      where r.token in (select c.token from closed c) order by l.job_id for update of l
    ), released as (
      delete from purser.job_leases l using lease e where l.job_id = e.job_id
    ), found as materialized (
      -- After the tokens: a statement that waited for another end of the same attempt sees that end here.
      select j.id, j.state from public.background_jobs j
      join request r on j.id = r.job_id and j.attempt_token = r.token
      where (select count(*) from lease) is not null order by j.id for no key update of j
    ), outcome as (
      select r.*, case when l.cancel_requested is not null and r.to_state in ('pending', 'failed', 'parked')
          then 'cancelled' else r.to_state end as end_state,
        jsonb_build_object('by', l.cancel_requested->'by', 'reason', l.cancel_requested->'reason') as request
      from request r join closed c on c.token = r.token left join lease l on l.job_id = r.job_id
    ), ended as (
      update public.background_jobs j
      set state = o.end_state, result = o.result, error = coalesce(o.error, j.error),
          state_detail = case when o.end_state = o.to_state then o.detail else o.request end,
          scheduled_for = coalesce(o.scheduled_for, now() + o.delay_ms * interval '1 millisecond', j.scheduled_for), needed_usd = o.needed_usd,
          -- A parked job may wait for two budget periods, counted from the first parking. Running time is no
          -- waiting time.
          give_up_at = case when o.end_state = 'parked'
            then greatest(j.give_up_at, coalesce(j.first_parked_at, now()) + interval '62 days')
            else j.give_up_at + (clock_timestamp() - j.started_at) end,
          first_parked_at = case when o.end_state = 'parked'
            then coalesce(j.first_parked_at, now()) else j.first_parked_at end,
          attempt = j.attempt - case when o.counts then 0 else 1 end, lease_owner = null,
          suspect = coalesce(o.suspect, j.suspect or o.shared_loss = 1 and j.losses + 1 >= ${sharedCrashesOfSuspect}),
          losses = case when o.suspect is false then 0 else j.losses + o.shared_loss end,
          losses_alone = case when o.suspect is false then 0 else j.losses_alone + o.isolated_loss end,
          finished_at = case when o.end_state in ('completed', 'dead_letter', 'cancelled') then clock_timestamp() end
      from outcome o join found f on f.id = o.job_id
      where j.id = o.job_id and j.attempt_token = o.token and f.state = 'running'
      returning j.id
    )
    select r.job_id as "jobId", case when e.id is not null then 'applied'
      when f.state <> 'running' then 'repeated' else 'stale' end as result
    from request r left join ended e on e.id = r.job_id left join found f on f.id = r.job_id`;
  return new Map(answered.map(({ jobId, result }) => [jobId, result]));
}
