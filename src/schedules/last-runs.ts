/** The newest ticks that made a job. Reads only. */
import type { Queryable } from '../db/connect.ts';
import type { Cohort } from './define.ts';

export interface LastRun {
  readonly jobType: string;
  readonly tenantId: string;
  /** Of the tenant now. */
  readonly cohort: Cohort;
  /** The time of the tick. */
  readonly bucket: Date;
  readonly jobId: string;
}

/** The newest tick of each type and cohort; of one tenant, of each type. Ticks whose record was removed are missing. */
export async function lastRuns(sql: Queryable, tenantId?: string): Promise<LastRun[]> {
  return sql<LastRun[]>`
    with newest as (
      select distinct on (s.job_type, c.cohort) s.job_type, c.cohort, s.tenant_id, s.last_bucket
      from public.tenant_schedules s
      join public.tenants t on t.id = s.tenant_id
      cross join lateral (select purser.cohort_of(t.plan, t.last_active_at, now()) as cohort) c
      where s.last_bucket is not null ${tenantId === undefined ? sql`` : sql`and s.tenant_id = ${tenantId}`}
      order by s.job_type, c.cohort, s.last_bucket desc, s.tenant_id
    )
    select n.job_type as "jobType", n.tenant_id as "tenantId", n.cohort, k.bucket, k.job_id::text as "jobId"
    from newest n
    cross join lateral (
      select k.bucket, k.job_id from purser.ticks k
      where k.tenant_id = n.tenant_id and k.job_type = n.job_type and k.job_id is not null
      order by k.bucket desc limit 1) k
    order by n.job_type, n.cohort`;
}
