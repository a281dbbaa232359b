/**
 * The workers of the fleet and what they run, from their heartbeats and from the jobs that they have begun, in one
 * snapshot. A worker whose jobs still run and whose heartbeat is gone is listed as silent.
 */
import { liveWithinMs } from '../../db/heartbeats.ts';
import type { Sql } from '../../db/connect.ts';
import type { DrainRequest } from '../../db/heartbeats.ts';

/**
 * draining: it takes no new jobs, and some still run or it has not read the request yet. empty: it runs none and takes
 * none. silent: nobody has heard of it for 15 s; its jobs run elsewhere when their leases expire.
 */
export type WorkerState = 'taking' | 'draining' | 'empty' | 'silent';

export interface WorkerRow {
  readonly workerId: string;
  readonly state: WorkerState;
  /** This and the following are null where its heartbeat is gone. */
  readonly host: string | null;
  readonly pid: number | null;
  readonly version: string | null;
  readonly slots: number | null;
  readonly startedAt: Date | null;
  readonly beatAt: Date | null;
  readonly jobTypes: readonly string[];
  /** Jobs that it has begun, also those that wait for a slot. */
  readonly running: number;
  readonly drain: DrainRequest | null;
}

export interface RunningJobRow {
  readonly jobId: string;
  readonly jobType: string;
  readonly tenantId: string;
  readonly workerId: string;
  readonly attempt: number;
  readonly startedAt: Date;
  readonly ageMs: number;
  /** 0 to 1; null: its handler has reported none. */
  readonly progress: number | null;
  readonly note: string | null;
}

export interface WorkerList {
  readonly workers: readonly WorkerRow[];
  /** The oldest ones. */
  readonly jobs: readonly RunningJobRow[];
  /** Of all workers; `jobs` has at most `limit` of them. */
  readonly runningJobs: number;
}

/** Lists all workers, and `limit` of their running jobs. */
export async function listWorkers(sql: Sql, limit: number): Promise<WorkerList> {
  return sql.begin('isolation level repeatable read read only', async (tx) => {
    const workers = await tx<WorkerRow[]>`
      with run as (
        select worker_id, count(*)::int as jobs from purser.in_flight where token is not null group by worker_id
      ), worker as (
        select * from public.heartbeats where role = 'worker'
      )
      select coalesce(w.process_id, r.worker_id) as "workerId",
             case when w.process_id is null or w.beat_at < now() - ${liveWithinMs} * interval '1 millisecond' then 'silent'
               when w.drain_requested is null then 'taking'
               when w.drain_state = 'empty' then 'empty' else 'draining' end as state,
             w.hostname as host, w.pid, w.version, w.slots, w.started_at as "startedAt", w.beat_at as "beatAt",
             coalesce(w.job_types, '{}') as "jobTypes", coalesce(r.jobs, 0) as running, w.drain_requested as drain
      from worker w full join run r on r.worker_id = w.process_id
      order by 1`;
    const jobs = await tx<RunningJobRow[]>`
      select job_id as "jobId", job_type as "jobType", tenant_id as "tenantId", worker_id as "workerId", attempt,
             started_at as "startedAt", (extract(epoch from now() - started_at) * 1000)::float8 as "ageMs",
             (progress->>'done')::float8 as progress, progress->>'note' as note
      from purser.in_flight where token is not null
      order by started_at, job_id limit ${limit}`;
    return {
      workers,
      jobs,
      runningJobs: workers.reduce((sum, { running }) => sum + running, 0),
    };
  });
}
