/**
 * Pauses of schedules, by a person and for a reason. Jobs that were made run on. A pause is no outage: after it the next
 * tick follows, and those that passed are recorded as missed.
 */
import type { Queryable, Tx } from '../db/connect.ts';
import type { Cohort } from './define.ts';

export interface PauseRecord {
  readonly by: string;
  readonly reason: string;
}

/** null: all cohorts. */
interface CohortTarget {
  readonly jobType: string;
  readonly cohort: Cohort | null;
}

interface TenantTarget {
  readonly jobType: string;
  readonly tenantId: string;
}

/** Whether a schedule is enabled, and its pause, as the record of acts keeps it. */
interface EnabledSchedule {
  /** null: of one tenant. */
  readonly cohort: Cohort | null;
  readonly enabled: boolean;
  readonly by: string | null;
  readonly reason: string | null;
  readonly at: Date | null;
}

/** The schedules of a type, of one of its cohorts, or of one tenant, locked until the end of the transaction. */
export async function lockSchedules(
  tx: Tx,
  target: CohortTarget & { readonly tenantId: string | undefined },
): Promise<readonly EnabledSchedule[]> {
  const { jobType, cohort, tenantId } = target;
  if (tenantId !== undefined) {
    return tx<EnabledSchedule[]>`
      select null as cohort, enabled, paused_by as by, paused_reason as reason, paused_at as at
      from public.tenant_schedules where job_type = ${jobType} and tenant_id = ${tenantId} for no key update`;
  }
  return tx<EnabledSchedule[]>`
    select cohort, enabled, paused_by as by, paused_reason as reason, paused_at as at
    from public.schedules where job_type = ${jobType} and (${cohort}::text is null or cohort = ${cohort})
    order by cohort for no key update`;
}

/** Returns the cohorts whose schedules are paused now; none: there is no such schedule. */
export async function pauseCohortSchedules(
  sql: Queryable,
  { jobType, cohort }: CohortTarget,
  { by, reason }: PauseRecord,
): Promise<Cohort[]> {
  const rows = await sql<{ cohort: Cohort }[]>`
    update public.schedules set enabled = false, paused_by = ${by}, paused_reason = ${reason}, paused_at = now()
    where job_type = ${jobType} and (${cohort}::text is null or cohort = ${cohort}) returning cohort`;
  return rows.map((row) => row.cohort);
}

/** Returns the cohorts whose schedules were paused until now. */
export async function resumeCohortSchedules(
  sql: Queryable,
  { jobType, cohort }: CohortTarget,
): Promise<Cohort[]> {
  const rows = await sql<{ cohort: Cohort }[]>`
    update public.schedules set enabled = true, paused_by = null, paused_reason = null, paused_at = null
    where job_type = ${jobType} and (${cohort}::text is null or cohort = ${cohort}) and not enabled
    returning cohort`;
  return rows.map((row) => row.cohort);
}

/** Returns whether the tenant has this schedule. */
export async function pauseTenantSchedule(
  sql: Queryable,
  { jobType, tenantId }: TenantTarget,
  { by, reason }: PauseRecord,
): Promise<boolean> {
  const rows = await sql`
    update public.tenant_schedules
    set enabled = false, paused_by = ${by}, paused_reason = ${reason}, paused_at = now()
    where job_type = ${jobType} and tenant_id = ${tenantId} returning job_type`;
  return rows.length > 0;
}

/** Returns whether it was paused until now. */
export async function resumeTenantSchedule(
  sql: Queryable,
  { jobType, tenantId }: TenantTarget,
): Promise<boolean> {
  const rows = await sql`
    update public.tenant_schedules set enabled = true
    where job_type = ${jobType} and tenant_id = ${tenantId} and not enabled returning job_type`;
  return rows.length > 0;
}
