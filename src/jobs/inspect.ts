/** Queries over jobs for the CLI and the web pages. */
import { hideSealed } from '../crypto/secrets/fields.ts';
import type { Queryable } from '../db/connect.ts';
import type { CancelRequest } from './cancel.ts';
import { listLogLines } from './log-lines.ts';
import type { LogLine } from './log-lines.ts';
import { pausesOver } from './pauses.ts';
import type { Pause } from './pauses.ts';
import type { JobState } from './states.ts';

export interface JobSummary {
  readonly jobId: string;
  readonly tenantId: string;
  readonly jobType: string;
  /** null: none. */
  readonly group: string | null;
  readonly state: JobState;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly priority: number;
  readonly scheduledFor: Date;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
  readonly errorCode: string | null;
}

export interface JobFilter {
  readonly tenantId?: string | undefined;
  readonly jobType?: string | undefined;
  readonly state?: string | undefined;
  readonly limit: number;
}

/** Newest first. */
export async function listJobs(sql: Queryable, filter: JobFilter): Promise<JobSummary[]> {
  const { tenantId = null, jobType = null, state, limit } = filter;
  // The view is for a state, whose table it reads; over all states it would sort all open jobs.
  const jobs =
    state === undefined
      ? sql`
        select j.id, j.tenant_id, j.job_type, j.group_name, coalesce(j.outcome, o.state) as state,
               coalesce(o.attempt, j.attempt) as attempt, j.max_attempts, j.priority,
               coalesce(o.scheduled_for, j.scheduled_for) as scheduled_for, j.created_at, j.finished_at,
               coalesce(o.last_error, j.error) as error
        from public.jobs j left join lateral (
          select case when failed then 'failed' else 'pending' end as state, attempt, scheduled_for, last_error
          from purser.waiting where job_id = j.id
          union all
          select case when failed then 'failed' else 'pending' end, attempt, scheduled_for, last_error
          from purser.later where job_id = j.id
          union all
          select 'parked', attempt, scheduled_for, last_error from purser.parked where job_id = j.id
          union all
          select case when token is null then 'queued' else 'running' end, attempt, scheduled_for, last_error
          from purser.in_flight where job_id = j.id
        ) o on j.outcome is null`
      : sql`select * from public.background_jobs where state = ${state}`;
  return sql<JobSummary[]>`
    select id as "jobId", tenant_id as "tenantId", job_type as "jobType", nullif(group_name, '') as "group",
           state, attempt, max_attempts as "maxAttempts", priority, scheduled_for as "scheduledFor",
           created_at as "createdAt", finished_at as "finishedAt", error->>'code' as "errorCode"
    from (${jobs}) j
    where (${tenantId}::text is null or tenant_id = ${tenantId})
      and (${jobType}::text is null or job_type = ${jobType})
    order by id desc limit ${limit}`;
}

export interface JobEvent {
  readonly at: Date;
  readonly fromState: string | null;
  readonly toState: string;
  readonly attempt: number;
  readonly detail: Record<string, unknown>;
}

export interface JobRecord extends JobSummary {
  readonly stateDetail: Record<string, unknown>;
  /** `[secret]` stands for encrypted fields. */
  readonly payload: unknown;
  readonly result: unknown;
  readonly error: Record<string, unknown> | null;
  readonly dedupKey: string | null;
  /** Last progress report of the running attempt: {done, note, at}. */
  readonly progress: { readonly done: number; readonly note: string | null } | null;
  /** Request to cancel the running attempt: {by, reason, at}. */
  readonly cancelRequested: CancelRequest | null;
  readonly replayOf: string | null;
  readonly replayedBy: string | null;
  readonly events: readonly JobEvent[];
  /** Pauses that keep a waiting job from being dispatched. */
  readonly pausedBy: readonly Pause[];
  /** The newest lines, in order of time. */
  readonly logs: readonly LogLine[];
}

/** One job with its history and its newest log lines, or undefined. */
export async function findJob(
  sql: Queryable,
  jobId: string,
  logLines = 50,
): Promise<JobRecord | undefined> {
  const [job] = await sql<Omit<JobRecord, 'events' | 'pausedBy' | 'logs'>[]>`
    select j.id as "jobId", j.tenant_id as "tenantId", j.job_type as "jobType",
           nullif(j.group_name, '') as "group", j.state, j.attempt, j.max_attempts as "maxAttempts", j.priority,
           j.scheduled_for as "scheduledFor", j.created_at as "createdAt", j.finished_at as "finishedAt",
           j.error->>'code' as "errorCode", j.state_detail as "stateDetail", j.payload, j.result, j.error,
           j.dedup_key as "dedupKey", j.replay_of as "replayOf", r.id as "replayedBy", f.progress,
           f.cancel_requested as "cancelRequested"
    from public.background_jobs j
    left join purser.in_flight f on f.job_id = j.id
    left join public.jobs r on r.replay_of = j.id
    where j.id = ${jobId}`;
  if (job === undefined) return undefined;
  const events = await sql<JobEvent[]>`
    select at, from_state as "fromState", to_state as "toState", attempt, detail
    from public.job_events where job_id = ${jobId} order by id`;
  const waits = job.state === 'pending' || job.state === 'failed';
  const pausedBy = waits ? await pausesOver(sql, job) : [];
  const logs = await listLogLines(sql, jobId, logLines);
  return { ...job, payload: hideSealed(job.payload), events, pausedBy, logs };
}

/** Number of jobs per state; states without jobs are missing. */
export async function countByState(sql: Queryable): Promise<Partial<Record<JobState, number>>> {
  const rows = await sql<{ state: JobState; count: number }[]>`
    select state, sum(jobs)::int as count from (
      select case when failed then 'failed' else 'pending' end as state, count(*) as jobs from purser.waiting group by 1
      union all
      select case when failed then 'failed' else 'pending' end, count(*) from purser.later group by 1
      union all
      select 'parked', count(*) from purser.parked
      union all
      select case when token is null then 'queued' else 'running' end, count(*) from purser.in_flight group by 1
      union all
      select outcome, jobs from purser.job_counts
    ) s group by state having sum(jobs) > 0 order by state`;
  return Object.fromEntries(rows.map(({ state, count }) => [state, count]));
}
