/** Queries over jobs for the CLI and the web pages. */
import { hideSealed, hideSecrets } from '../crypto/secrets/fields.ts';
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

export interface JobEvent {
  readonly at: Date;
  readonly fromState: string | null;
  readonly toState: string;
  readonly attempt: number;
  readonly detail: Record<string, unknown>;
}

export interface JobRecord extends JobSummary {
  readonly stateDetail: Record<string, unknown>;
  /** `[secret]` stands for secret fields. */
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

type JobRow = Omit<JobRecord, 'events' | 'pausedBy' | 'logs'> & {
  readonly secretPaths: readonly string[] | null;
};

/** One job with its history (the newest `maxEvents`) and its newest log lines, or undefined. */
export async function findJob(
  sql: Queryable,
  jobId: string,
  logLines = 50,
  maxEvents = 1_000_000,
): Promise<JobRecord | undefined> {
  const [found] = await sql<JobRow[]>`
    select j.id as "jobId", j.tenant_id as "tenantId", j.job_type as "jobType",
           nullif(j.group_name, '') as "group", j.state, j.attempt, j.max_attempts as "maxAttempts", j.priority,
           j.scheduled_for as "scheduledFor", j.created_at as "createdAt", j.finished_at as "finishedAt",
           j.error->>'code' as "errorCode", j.state_detail as "stateDetail", j.payload, j.result, j.error,
           j.dedup_key as "dedupKey", j.replay_of as "replayOf", r.id as "replayedBy", f.progress,
           f.cancel_requested as "cancelRequested", t.secret_paths as "secretPaths"
    from public.background_jobs j
    left join public.job_types t on t.job_type = j.job_type
    left join purser.in_flight f on f.job_id = j.id
    left join public.jobs r on r.replay_of = j.id
    where j.id = ${jobId}`;
  if (found === undefined) return undefined;
  const { secretPaths, ...job } = found;
  const events = await sql<JobEvent[]>`
    select at, "fromState", "toState", attempt, detail from (
      select id, at, from_state as "fromState", to_state as "toState", attempt, detail
      from public.job_events where job_id = ${jobId} order by id desc limit ${maxEvents}) e
    order by id`;
  const waits = job.state === 'pending' || job.state === 'failed';
  const pausedBy = waits ? await pausesOver(sql, job) : [];
  const logs = await listLogLines(sql, jobId, logLines);
  const payload = await hideSecrets(job.payload, secretPaths ?? []);
  return { ...job, payload, result: hideSealed(job.result), events, pausedBy, logs };
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
