/**
 * Claims tenants whose schedule is due and makes their jobs, in one short transaction. Any number of
 * schedulers may run it: rows are shared by SKIP LOCKED, and the tick's dedup key makes its job unique.
 */
import type { Sql, Tx } from '../db/connect.ts';
import { listSchedules } from './defaults.ts';
import type { Schedule } from './defaults.ts';
import { ticksAround } from './ticks.ts';
import type { Ticks } from './ticks.ts';

export interface ClaimResult {
  readonly claimed: number;
  readonly created: number;
  /** Ticks whose job was there already. */
  readonly deduplicated: number;
}

interface DueTenant {
  tenantId: string;
  jobType: string;
  cohort: string;
}

interface Tick extends Schedule, Ticks {}

const dueJson = (due: readonly DueTenant[]): string => JSON.stringify(due);
const tickJson = (ticks: readonly Tick[]): string => JSON.stringify(ticks);

export interface ClaimOptions {
  /** Called with a schedule that cannot be computed, which is then left out. */
  readonly onInvalid?: (schedule: Schedule, error: unknown) => void;
  /** Job types whose schedules stay as they are; their missed ticks collapse into one when they are claimed again. */
  readonly excludedJobTypes?: readonly string[] | undefined;
  /** Most rows of one claim. Default 500. */
  readonly limit?: number;
}

/** Claims due rows. Missed ticks of a tenant collapse into its newest one. */
export async function claimDueTenants(
  sql: Sql,
  now: Date,
  { onInvalid = () => {}, excludedJobTypes = [], limit = 500 }: ClaimOptions = {},
): Promise<ClaimResult> {
  const schedules = await listSchedules(sql);
  const included = schedules.filter(({ jobType }) => !excludedJobTypes.includes(jobType));
  const ticks = ticksOf(included, now, onInvalid);
  if (ticks.length === 0) return { claimed: 0, created: 0, deduplicated: 0 };
  return sql.begin(async (tx) => {
    const due = await lockDueTenants(tx, ticks, now, limit);
    if (due.length === 0) return { claimed: 0, created: 0, deduplicated: 0 };
    const created = await insertTickJobs(tx, due, ticks, now);
    await advanceSchedules(tx, due, ticks);
    return { claimed: due.length, created, deduplicated: due.length - created };
  });
}

/** A schedule that cannot be computed is told and left out: it must not stop the others. */
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

/** NO KEY UPDATE: a tenant with an open foreign-key insert (a long ingestion) is not skipped. */
async function lockDueTenants(
  tx: Tx,
  ticks: readonly Tick[],
  now: Date,
  limit: number,
): Promise<DueTenant[]> {
  return tx<DueTenant[]>`
    select s.tenant_id as "tenantId", s.job_type as "jobType",
           purser.cohort_of(t.plan, t.last_active_at, ${now}) as cohort
    from public.tenant_schedules s join public.tenants t on t.id = s.tenant_id
    where s.enabled and s.next_due <= ${now}
      and (s.job_type, purser.cohort_of(t.plan, t.last_active_at, ${now})) in (
        select k."jobType", k.cohort
        from jsonb_to_recordset(${tickJson(ticks)}::text::jsonb) as k ("jobType" text, cohort text))
    order by s.next_due
    limit ${limit}
    for no key update of s skip locked`;
}

/** Key `<tenant>:<job type>:<bucket>`, kept for two intervals past its tick. Returns how many were new. */
async function insertTickJobs(
  tx: Tx,
  due: readonly DueTenant[],
  ticks: readonly Tick[],
  now: Date,
): Promise<number> {
  const inserted = await tx`
    with wanted as (
      select d."tenantId" as tenant_id, d."jobType" as job_type, d.cohort, k.current, k.next,
             format('%s:%s:%s', d."tenantId", d."jobType",
               to_char(k.current at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) as dedup_key
      from jsonb_to_recordset(${dueJson(due)}::text::jsonb) as d ("tenantId" text, "jobType" text, cohort text)
      join jsonb_to_recordset(${tickJson(ticks)}::text::jsonb)
        as k ("jobType" text, cohort text, current timestamptz, next timestamptz)
        on k."jobType" = d."jobType" and k.cohort = d.cohort
    ), keyed as (
      insert into public.job_keys as kept (tenant_id, job_type, dedup_key, job_id, expires_at)
      select tenant_id, job_type, dedup_key, nextval(pg_get_serial_sequence('public.background_jobs', 'id')),
             next + 2 * (next - current)
      from wanted order by tenant_id, job_type
      on conflict do nothing
      returning tenant_id, job_type, dedup_key, job_id
    )
    insert into public.background_jobs
      (id, tenant_id, job_type, dedup_key, max_attempts, scheduled_for, give_up_at, state_detail)
    select k.job_id, k.tenant_id, k.job_type, k.dedup_key, t.max_attempts, ${now},
           ${now}::timestamptz + t.give_up_after_ms * interval '1 millisecond',
           jsonb_build_object('cohort', w.cohort, 'bucket', w.current)
    from keyed k
    join wanted w on w.tenant_id = k.tenant_id and w.job_type = k.job_type
    join public.job_types t on t.job_type = k.job_type`;
  return inserted.count;
}

/** Next due = the cohort's next tick plus the tenant's own stable splay. */
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
