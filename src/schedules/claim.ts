/**
 * Claims tenants whose schedule is due and makes their jobs, in one short transaction. Any number of schedulers may
 * run: rows locked by another one are skipped, and the tick's key makes its job unique. The database's clock decides
 * what is due.
 */
import type { Sql, Tx } from '../db/connect.ts';
import { isRowFault, lockTimeout } from '../db/row-faults.ts';
import { listSchedules } from './defaults.ts';
import type { Schedule } from './defaults.ts';
import { ticksAround } from './ticks.ts';
import type { Ticks } from './ticks.ts';

export interface ClaimResult {
  readonly claimed: number;
  readonly created: number;
  /** Ticks that had a job already. */
  readonly deduplicated: number;
}

interface DueTenant {
  tenantId: string;
  jobType: string;
  cohort: string;
}

interface Tick extends Schedule, Ticks {}

const nothing: ClaimResult = { claimed: 0, created: 0, deduplicated: 0 };
const dueJson = (due: readonly DueTenant[]): string => JSON.stringify(due);
const tickJson = (ticks: readonly Tick[]): string => JSON.stringify(ticks);

export interface ClaimOptions {
  /** Called with a schedule that cannot be computed, which is then left out. */
  readonly onInvalid?: (schedule: Schedule, error: unknown) => void;
  /** Called with a tenant whose schedules cannot be claimed. Default: throws the error. */
  readonly onTenantFault?: (tenantId: string, error: unknown) => void;
  /** Job types whose schedules stay as they are; their missed ticks collapse into one when they are claimed again. */
  readonly excludedJobTypes?: readonly string[] | undefined;
  /** Maximum rows per claim. Default 500. */
  readonly limit?: number;
  /** Added to the database's time. Default 0. */
  readonly offsetMs?: number;
}

/** Claims due rows. Missed ticks of a tenant are replaced by its newest one. */
export async function claimDueTenants(sql: Sql, options: ClaimOptions = {}): Promise<ClaimResult> {
  const { onInvalid = () => {}, onTenantFault, excludedJobTypes = [] } = options;
  const { limit = 500, offsetMs = 0 } = options;
  const schedules = await listSchedules(sql);
  const included = schedules.filter(({ jobType }) => !excludedJobTypes.includes(jobType));
  const now = await databaseTime(sql, offsetMs);
  const ticks = ticksOf(included, now, onInvalid);
  if (ticks.length === 0) return nothing;
  try {
    return await claimTicks(sql, ticks, now, limit);
  } catch (error) {
    if (onTenantFault === undefined || !isRowFault(error)) throw error;
    return claimTenantByTenant(sql, ticks, now, limit, onTenantFault);
  }
}

async function databaseTime(sql: Sql, offsetMs: number): Promise<Date> {
  const [row] = await sql<{ now: Date }[]>`
    select now() + ${offsetMs} * interval '1 millisecond' as now`;
  if (row === undefined) throw new Error('the database gave no time');
  return row.now;
}

/** After a claim that failed by the fault of a row: only the tenants of such rows are left out. */
async function claimTenantByTenant(
  sql: Sql,
  ticks: readonly Tick[],
  now: Date,
  limit: number,
  onTenantFault: (tenantId: string, error: unknown) => void,
): Promise<ClaimResult> {
  const rows = await sql<{ id: string }[]>`
    select tenant_id as id from public.tenant_schedules where enabled and next_due <= ${now}
    group by tenant_id order by min(next_due) limit ${limit}`;
  const total = { ...nothing };
  for (const { id } of rows) {
    try {
      const { claimed, created, deduplicated } = await claimTicks(sql, ticks, now, limit, id);
      total.claimed += claimed;
      total.created += created;
      total.deduplicated += deduplicated;
    } catch (error) {
      if (!isRowFault(error)) throw error;
      onTenantFault(id, error);
    }
  }
  return total;
}

/** Claims the due rows of all tenants, or of one. */
async function claimTicks(
  sql: Sql,
  ticks: readonly Tick[],
  now: Date,
  limit: number,
  tenantId: string | null = null,
): Promise<ClaimResult> {
  return sql.begin(async (tx) => {
    const due = await lockDueTenants(tx, ticks, now, limit, tenantId);
    if (due.length === 0) return nothing;
    const created = await insertTickJobs(tx, due, ticks);
    await advanceSchedules(tx, due, ticks);
    return { claimed: due.length, created, deduplicated: due.length - created };
  });
}

/** A schedule that cannot be computed is reported and left out. */
function ticksOf(
  schedules: readonly Schedule[],
  now: Date,
  onInvalid: (schedule: Schedule, error: unknown) => void,
): Tick[] {
  const known = new Map<string, Ticks>();
  return schedules.flatMap((schedule) => {
    const key = `${schedule.cron}|${schedule.zone}`;
    try {
      const ticks = known.get(key) ?? ticksAround(schedule.cron, schedule.zone, now);
      known.set(key, ticks);
      return [{ ...schedule, ...ticks }];
    } catch (error) {
      onInvalid(schedule, error);
      return [];
    }
  });
}

/** NO KEY UPDATE does not conflict with the foreign-key check of an open insert (a long ingestion). */
async function lockDueTenants(
  tx: Tx,
  ticks: readonly Tick[],
  now: Date,
  limit: number,
  tenantId: string | null,
): Promise<DueTenant[]> {
  return tx<DueTenant[]>`
    with ${lockTimeout(tx)}
    select s.tenant_id as "tenantId", s.job_type as "jobType",
           purser.cohort_of(t.plan, t.last_active_at, ${now}) as cohort
    from public.tenant_schedules s join public.tenants t on t.id = s.tenant_id
    where exists (select from lock_timeout) and s.enabled and s.next_due <= ${now}
      and (${tenantId}::text is null or s.tenant_id = ${tenantId})
      and (s.job_type, purser.cohort_of(t.plan, t.last_active_at, ${now})) in (
        select k."jobType", k.cohort
        from jsonb_to_recordset(${tickJson(ticks)}::text::jsonb) as k ("jobType" text, cohort text))
    order by s.next_due
    limit ${limit}
    for no key update of s skip locked`;
}

/**
 * The key is (tenant, job type, tick), kept for two intervals past the tick, in a table that tenants cannot write.
 * Returns how many were new.
 */
async function insertTickJobs(
  tx: Tx,
  due: readonly DueTenant[],
  ticks: readonly Tick[],
): Promise<number> {
  const inserted = await tx`
    with wanted as (
      select d."tenantId" as tenant_id, d."jobType" as job_type, d.cohort, k.current, k.next
      from jsonb_to_recordset(${dueJson(due)}::text::jsonb) as d ("tenantId" text, "jobType" text, cohort text)
      join jsonb_to_recordset(${tickJson(ticks)}::text::jsonb)
        as k ("jobType" text, cohort text, current timestamptz, next timestamptz)
        on k."jobType" = d."jobType" and k.cohort = d.cohort
    ), keyed as (
      insert into purser.tick_keys (tenant_id, job_type, bucket, job_id, expires_at)
      select tenant_id, job_type, current, nextval(pg_get_serial_sequence('public.background_jobs', 'id')),
             next + 2 * (next - current)
      from wanted order by tenant_id, job_type
      on conflict do nothing
      returning tenant_id, job_type, bucket, job_id
    )
    insert into public.background_jobs
      (id, tenant_id, job_type, dedup_key, max_attempts, scheduled_for, give_up_at, state_detail)
    select k.job_id, k.tenant_id, k.job_type,
           format('%s:%s:%s', k.tenant_id, k.job_type,
             to_char(k.bucket at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
           t.max_attempts, now(), now() + t.give_up_after_ms * interval '1 millisecond',
           jsonb_build_object('cohort', w.cohort, 'bucket', w.current)
    from keyed k
    join wanted w on w.tenant_id = k.tenant_id and w.job_type = k.job_type
    join public.job_types t on t.job_type = k.job_type`;
  return inserted.count;
}

/** Next due = the cohort's next tick plus the tenant's splay. */
async function advanceSchedules(
  tx: Tx,
  due: readonly DueTenant[],
  ticks: readonly Tick[],
): Promise<void> {
  await tx`
    update public.tenant_schedules s
    set last_bucket = k.current,
        next_due = k.next + interval '1 second' * case when k."splaySeconds" = 0 then 0
          else ('x' || substr(md5(s.tenant_id), 1, 8))::bit(32)::bigint % k."splaySeconds" end
    from jsonb_to_recordset(${dueJson(due)}::text::jsonb) as d ("tenantId" text, "jobType" text, cohort text)
    join jsonb_to_recordset(${tickJson(ticks)}::text::jsonb)
      as k ("jobType" text, cohort text, current timestamptz, next timestamptz, "splaySeconds" int)
      on k."jobType" = d."jobType" and k.cohort = d.cohort
    where s.tenant_id = d."tenantId" and s.job_type = d."jobType"`;
}
