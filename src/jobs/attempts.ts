/**
 * Begin and finish of attempts. Begin is compare-and-set on (queued, dispatch number); finish is fenced by
 * the attempt's token and may be repeated. Both take many jobs and answer for each.
 */
import type { Queryable } from '../db/connect.ts';
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
  readonly alone: boolean;
  readonly lossesAlone: number;
  readonly createdAt: Date;
  readonly scheduledFor: Date;
}

/**
 * Starts attempts and leases them to `workerId` for `leaseMs`.
 * Requests that are stale (re-dispatched, cancelled, ended) are simply missing from the answer.
 */
export async function beginAttempts(
  sql: Queryable,
  requests: readonly BeginRequest[],
  workerId: string,
  leaseMs: number,
): Promise<BegunAttempt[]> {
  const sorted = requests.toSorted((a, b) => Number(BigInt(a.jobId) - BigInt(b.jobId)));
  return sql<BegunAttempt[]>`
    with request as materialized (
      select * from unnest(
        ${sorted.map(({ jobId }) => jobId)}::bigint[], ${sorted.map(({ dispatchNo }) => dispatchNo)}::int[],
        ${sorted.map(({ token }) => token)}::uuid[]) as r (job_id, dispatch_no, token)
    ), begun as (
      update public.background_jobs j
      set state = 'running', attempt = j.attempt + 1, attempt_token = r.token, lease_owner = ${workerId},
          started_at = now(), state_detail = jsonb_build_object('worker', ${workerId}::text)
      from request r
      where j.id = r.job_id and j.state = 'queued' and j.dispatch_no = r.dispatch_no
      returning j.*
    ), opened as (
      insert into purser.context_tokens (token, tenant_id, job_id, attempt)
      select attempt_token, tenant_id, id, attempt from begun
    ), leased as (
      insert into purser.job_leases (job_id, token, worker_id, expires_at)
      select id, attempt_token, ${workerId}, now() + ${leaseMs} * interval '1 millisecond' from begun
      on conflict (job_id) do update
        set token = excluded.token, worker_id = excluded.worker_id, expires_at = excluded.expires_at
    )
    select id as "jobId", tenant_id as "tenantId", job_type as "jobType", payload, attempt,
           max_attempts as "maxAttempts", attempt_token as token, suspect as alone,
           losses_alone as "lossesAlone", created_at as "createdAt",
           scheduled_for as "scheduledFor"
    from begun`;
}

export interface JobFault {
  readonly code: string;
  readonly message: string;
  readonly stack?: string;
  /** JSON. */
  readonly details?: unknown;
}

/** What an attempt's end does to its row. */
export interface AttemptEnd {
  readonly toState: Exclude<JobState, 'queued' | 'running'>;
  /** JSON, for completed. */
  readonly result?: unknown;
  readonly error?: JobFault;
  /** When the job may run again (failed, pending, parked). */
  readonly scheduledFor?: Date;
  /** false: handed back or snoozed; the attempt is taken off the count again. */
  readonly countsAttempt: boolean;
  readonly detail: Record<string, unknown>;
  readonly suspect?: boolean;
  readonly lostAlone?: boolean;
  /** Decimal USD, for parked: the hold that was refused. */
  readonly neededUsd?: string;
}

export interface FinishRequest {
  readonly jobId: string;
  readonly token: string;
  readonly end: AttemptEnd;
}

/** applied: this call did it. repeated: an earlier call under this token had done it. stale: refused. */
export type FinishResult = 'applied' | 'repeated' | 'stale';

interface FinishRow {
  jobId: string;
  result: FinishResult;
}

/** Ends attempts. A token that is not the row's current one changes nothing and is answered `stale`. */
export async function finishAttempts(
  sql: Queryable,
  requests: readonly FinishRequest[],
): Promise<Map<string, FinishResult>> {
  const rows = requests
    .toSorted((a, b) => Number(BigInt(a.jobId) - BigInt(b.jobId)))
    .map(({ jobId, token, end }) => ({
      job_id: jobId,
      token,
      to_state: end.toState,
      result: end.result ?? null,
      error: end.error ?? null,
      scheduled_for: end.scheduledFor?.toISOString() ?? null,
      counts: end.countsAttempt,
      detail: end.detail,
      needed_usd: end.neededUsd ?? null,
      suspect: end.suspect ?? null,
      lost: end.lostAlone ?? false,
    }));
  const answered = await sql<FinishRow[]>`
    with request as materialized (
      select * from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as r (
        job_id bigint, token uuid, to_state text, result jsonb, error jsonb, scheduled_for timestamptz,
        counts boolean, detail jsonb, needed_usd numeric, suspect boolean, lost boolean)
    ), fenced as (
      delete from purser.context_tokens t using request r
      where t.token = r.token and t.job_id = r.job_id returning t.token
    ), released as (
      delete from purser.job_leases l using request r where l.job_id = r.job_id and l.token = r.token
    ), ended as (
      update public.background_jobs j
      set suspect = coalesce(r.suspect, j.suspect), losses_alone = j.losses_alone + case when r.lost then 1 else 0 end,
          state = r.to_state, result = r.result, error = coalesce(r.error, j.error), state_detail = r.detail,
          scheduled_for = coalesce(r.scheduled_for, j.scheduled_for), needed_usd = r.needed_usd,
          -- Money is waited for longer than a worker: two budget periods, counted from the first parking. And
          -- time spent running is not time spent waiting.
          give_up_at = case when r.to_state = 'parked'
            then greatest(j.give_up_at, coalesce(j.first_parked_at, now()) + interval '62 days')
            else j.give_up_at + (clock_timestamp() - j.started_at) end,
          first_parked_at = case when r.to_state = 'parked'
            then coalesce(j.first_parked_at, now()) else j.first_parked_at end,
          attempt = j.attempt - case when r.counts then 0 else 1 end, lease_owner = null,
          finished_at = case when r.to_state in ('completed', 'dead_letter', 'cancelled') then clock_timestamp() end
      from request r join fenced f on f.token = r.token
      where j.id = r.job_id and j.attempt_token = r.token and j.state = 'running'
      returning j.id
    )
    select r.job_id as "jobId", case
        when e.id is not null then 'applied'
        when j.attempt_token = r.token and j.state <> 'running' then 'repeated'
        else 'stale' end as result
    from request r
    left join ended e on e.id = r.job_id
    left join public.background_jobs j on j.id = r.job_id`;
  return new Map(answered.map(({ jobId, result }) => [jobId, result]));
}

/**
 * Extends the leases that `workerId` still holds. Returns the tokens that are still the leases' own: a job
 * can have come back to the same worker under another token, which is no excuse for the old attempt.
 */
export async function renewLeases(
  sql: Queryable,
  workerId: string,
  tokens: readonly string[],
  leaseMs: number,
): Promise<Set<string>> {
  const kept = await sql<{ token: string }[]>`
    update purser.job_leases set expires_at = now() + ${leaseMs} * interval '1 millisecond'
    where worker_id = ${workerId} and token = any(${tokens}::uuid[])
    returning token`;
  return new Set(kept.map(({ token }) => token));
}

export interface ProgressReport {
  readonly token: string;
  /** 0 to 1. */
  readonly done: number;
  readonly note: string | null;
}

/** Keeps what handlers last said of their progress, beside the lease, while they run. */
export async function storeProgress(
  sql: Queryable,
  reports: readonly ProgressReport[],
): Promise<number> {
  const stored = await sql`
    update purser.job_leases l
    set progress = jsonb_build_object('done', r.done, 'note', r.note, 'at', now())
    from jsonb_to_recordset(${JSON.stringify(reports)}::text::jsonb) as r (token uuid, done float8, note text)
    where l.token = r.token`;
  return stored.count;
}
