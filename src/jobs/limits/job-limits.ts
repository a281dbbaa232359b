/**
 * Limits on the jobs that are queued or run: of a tenant, of a job type, or of a tenant in a type. Dispatch counts the
 * rows of jobs in flight, so that a dead worker leaves nothing behind.
 */
import type { Queryable } from '../../db/connect.ts';
import { codeOf } from '../../errors.ts';
import { assertKnown } from '../pauses.ts';

/** One of them is there. */
export interface LimitTarget {
  readonly tenantId?: string | undefined;
  readonly jobType?: string | undefined;
}

export interface JobLimit {
  /** null: all tenants together. */
  readonly tenantId: string | null;
  /** null: all types together. */
  readonly jobType: string | null;
  readonly maxRunning: number;
  readonly by: string;
  readonly at: Date;
  /** Jobs that count for it now. */
  readonly inFlight: number;
}

const foreignKeyViolation = '23503';

/** Adds a limit or changes one; jobs that run already count, and are not stopped. Throws `unknown_job_type` or `unknown_tenant`. */
export async function setJobLimit(
  sql: Queryable,
  target: LimitTarget,
  { maxRunning, by }: { readonly maxRunning: number; readonly by: string },
): Promise<void> {
  try {
    await sql`
      insert into public.job_limits (tenant_id, job_type, max_running, by)
      values (${target.tenantId ?? ''}, ${target.jobType ?? ''}, ${maxRunning}, ${by})
      on conflict (tenant_id, job_type) do update
        set max_running = excluded.max_running, by = excluded.by, at = now()`;
  } catch (error) {
    if (codeOf(error) === foreignKeyViolation) await assertTargetKnown(sql, target);
    throw error;
  }
}

/** false: there was none. Throws like `setJobLimit`. */
export async function clearJobLimit(sql: Queryable, target: LimitTarget): Promise<boolean> {
  const cleared = await sql`
    delete from public.job_limits
    where tenant_id = ${target.tenantId ?? ''} and job_type = ${target.jobType ?? ''}`;
  if (cleared.count === 0) await assertTargetKnown(sql, target);
  return cleared.count > 0;
}

/** By tenant, then by type; those of all tenants first. */
export async function listJobLimits(sql: Queryable): Promise<JobLimit[]> {
  return sql<JobLimit[]>`
    select nullif(l.tenant_id, '') as "tenantId", nullif(l.job_type, '') as "jobType",
      l.max_running as "maxRunning", l.by, l.at,
      (case
        when l.tenant_id = '' then (
          select count(*) from purser.in_flight f where f.limited and f.job_type = l.job_type)
        when l.job_type = '' then (
          select count(*) from purser.in_flight f where f.limited and f.tenant_id = l.tenant_id)
        else (
          select count(*) from purser.in_flight f
          where f.limited and f.tenant_id = l.tenant_id and f.job_type = l.job_type)
        end)::int as "inFlight"
    from public.job_limits l order by l.tenant_id, l.job_type`;
}

/** Marks jobs that were dispatched at the moment when a limit was set. Returns their number. */
export async function markLimited(sql: Queryable): Promise<number> {
  const [row] = await sql<{ marked: number }[]>`select purser.mark_limited()::int as marked`;
  return row?.marked ?? 0;
}

async function assertTargetKnown(
  sql: Queryable,
  { tenantId, jobType }: LimitTarget,
): Promise<void> {
  if (tenantId !== undefined) await assertKnown(sql, { scope: 'tenant', name: tenantId });
  if (jobType !== undefined) await assertKnown(sql, { scope: 'job_type', name: jobType });
}
