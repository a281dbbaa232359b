/** Where a job stands: the row of its state, and what of the job itself matters for why it does not run. */
import type { Queryable } from '../../db/connect.ts';

export interface JobPlace {
  readonly jobId: string;
  readonly tenantId: string;
  readonly jobType: string;
  /** Empty: none. */
  readonly group: string;
  /** later: it waits for its time. */
  readonly stands: 'waiting' | 'later' | 'parked' | 'queued' | 'running' | 'ended';
  readonly outcome: 'completed' | 'dead_letter' | 'cancelled' | null;
  readonly finishedAt: Date | null;
  readonly replayedBy: string | null;
  readonly endDetail: Readonly<Record<string, unknown>> | null;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly priority: number;
  readonly scheduledFor: Date;
  readonly dueInMs: number;
  /** The last attempt failed. */
  readonly failed: boolean;
  readonly suspect: boolean;
  readonly losses: number;
  readonly neededUsd: string | null;
  readonly detail: Readonly<Record<string, unknown>> | null;
  readonly errorCode: string | null;
  readonly queuedAt: Date | null;
  readonly queuedForMs: number | null;
  readonly startedAt: Date | null;
  readonly workerId: string | null;
  readonly leaseEndsAt: Date | null;
  readonly leaseLeftMs: number | null;
  readonly cancelBy: string | null;
  /** Of an ingestion whose upload is not complete. */
  readonly uploadId: string | null;
  readonly uploadSince: Date | null;
}

/** undefined: there is no such job. Reads by primary keys only. */
export async function readPlace(sql: Queryable, jobId: string): Promise<JobPlace | undefined> {
  const columns = sql`s.job_id, s.attempt, s.priority, s.scheduled_for, s.failed, s.suspect, s.losses, s.needed_usd,
    s.detail, s.last_error`;
  const notQueued = sql`null::timestamptz as queued_at, null::timestamptz as started_at, null::text as worker_id,
    null::timestamptz as expires_at, null::jsonb as cancel_requested`;
  const [place] = await sql<JobPlace[]>`
    with open as (
      select 'waiting' as stands, ${columns}, ${notQueued} from purser.waiting s where s.job_id = ${jobId}
      union all
      select 'later', ${columns}, ${notQueued} from purser.later s where s.job_id = ${jobId}
      union all
      select 'parked', ${columns}, ${notQueued} from purser.parked s where s.job_id = ${jobId}
      union all
      select case when s.token is null then 'queued' else 'running' end, ${columns}, s.queued_at, s.started_at,
        s.worker_id, s.expires_at, s.cancel_requested
      from purser.in_flight s where s.job_id = ${jobId}
    )
    select j.id as "jobId", j.tenant_id as "tenantId", j.job_type as "jobType", j.group_name as "group",
      coalesce(o.stands, 'ended') as stands, j.outcome, j.finished_at as "finishedAt", r.id as "replayedBy",
      j.end_detail as "endDetail", coalesce(o.attempt, j.attempt) as attempt, j.max_attempts as "maxAttempts",
      j.priority, coalesce(o.scheduled_for, j.scheduled_for) as "scheduledFor",
      (extract(epoch from o.scheduled_for - now()) * 1000)::float8 as "dueInMs",
      coalesce(o.failed, false) as failed, coalesce(o.suspect, false) as suspect, coalesce(o.losses, 0) as losses,
      trim_scale(o.needed_usd)::text as "neededUsd", o.detail, coalesce(o.last_error, j.error)->>'code' as "errorCode",
      o.queued_at as "queuedAt", (extract(epoch from now() - o.queued_at) * 1000)::float8 as "queuedForMs",
      o.started_at as "startedAt", o.worker_id as "workerId", o.expires_at as "leaseEndsAt",
      (extract(epoch from o.expires_at - now()) * 1000)::float8 as "leaseLeftMs",
      o.cancel_requested->>'by' as "cancelBy", u.id as "uploadId", u.created_at as "uploadSince"
    from public.jobs j
    left join open o on o.job_id = j.id
    left join public.jobs r on r.replay_of = j.id
    left join public.ingest_uploads u on o.job_id is not null and j.job_type = 'cost_ingestion'
      and u.id = case when j.payload->>'uploadId' ~ '^[0-9]{1,18}$' then (j.payload->>'uploadId')::bigint end
      and u.tenant_id = j.tenant_id and u.state = 'uploading'
    where j.id = ${jobId}`;
  return place;
}

/** A text in what a state keeps of itself. */
export function textOf(
  detail: Readonly<Record<string, unknown>> | null,
  name: string,
  otherwise = `no ${name}`,
): string {
  const value = detail?.[name];
  return typeof value === 'string' ? value : otherwise;
}
