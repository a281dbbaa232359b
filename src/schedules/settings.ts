/** What operators set: the schedule of a cohort, and what differs from it for one tenant. */
import type { Queryable, Tx } from '../db/connect.ts';
import type { Cohort, MissedPolicy, ScheduleTiming } from './define.ts';

export interface CohortSchedule extends ScheduleTiming {
  readonly jobType: string;
  readonly cohort: Cohort;
  readonly enabled: boolean;
}

/** null: as the schedule of the cohort says. */
export interface Override {
  readonly cron: string | null;
  readonly zone: string | null;
  readonly splaySeconds: number | null;
  readonly missed: MissedPolicy | null;
  readonly missedMost: number | null;
}

/** Of a job type, or of one of its cohorts. */
export async function listCohortSchedules(
  sql: Queryable,
  jobType: string,
  cohort: Cohort | null = null,
): Promise<CohortSchedule[]> {
  return sql<CohortSchedule[]>`
    select job_type as "jobType", cohort, cron, zone, splay_seconds as "splaySeconds", missed,
      missed_most as "missedMost", enabled
    from public.schedules where job_type = ${jobType} and (${cohort}::text is null or cohort = ${cohort})
    order by array_position(array['high_value', 'active', 'dormant'], cohort)`;
}

/** The schedule of one cohort, locked until the end of the transaction. */
export async function lockCohortSchedule(
  tx: Tx,
  jobType: string,
  cohort: Cohort,
): Promise<ScheduleTiming | undefined> {
  const [found] = await tx<ScheduleTiming[]>`
    select cron, zone, splay_seconds as "splaySeconds", missed, missed_most as "missedMost"
    from public.schedules where job_type = ${jobType} and cohort = ${cohort} for no key update`;
  return found;
}

/** The override of one tenant, locked until the end of the transaction; undefined: it has not even the schedule. */
export async function lockOverride(
  tx: Tx,
  jobType: string,
  tenantId: string,
): Promise<Override | undefined> {
  const [found] = await tx<Override[]>`
    select cron, zone, splay_seconds as "splaySeconds", missed, missed_most as "missedMost"
    from public.tenant_schedules where job_type = ${jobType} and tenant_id = ${tenantId} for no key update`;
  return found;
}

/** Adds the schedule, or changes it for all tenants of the cohort. Returns whether it was added. */
export async function setCohortSchedule(
  sql: Queryable,
  schedule: Omit<CohortSchedule, 'enabled'>,
): Promise<boolean> {
  const { jobType, cohort, cron, zone, splaySeconds, missed, missedMost } = schedule;
  const [row] = await sql<{ added: boolean }[]>`
    insert into public.schedules (job_type, cohort, cron, zone, splay_seconds, missed, missed_most)
    values (${jobType}, ${cohort}, ${cron}, ${zone}, ${splaySeconds}, ${missed}, ${missedMost})
    on conflict (job_type, cohort) do update set cron = excluded.cron, zone = excluded.zone,
      splay_seconds = excluded.splay_seconds, missed = excluded.missed, missed_most = excluded.missed_most
    returning xmax = 0 as added`;
  return row?.added === true;
}

export interface TenantSchedule {
  readonly jobType: string;
  readonly cohort: Cohort;
  /** With the override; null: the cohort has no schedule. */
  readonly cron: string | null;
  readonly zone: string;
  readonly splaySeconds: number;
  readonly missed: MissedPolicy;
  readonly missedMost: number;
  readonly override: Override;
  readonly isOverridden: boolean;
  /** By an operator: of this tenant, or of its cohort. */
  readonly pausedBy: 'tenant' | 'cohort' | null;
  readonly pause: { readonly by: string | null; readonly reason: string | null } | null;
  readonly nextDue: Date;
  readonly nextBucket: Date | null;
  /** null: it has never run, and is due at once. */
  readonly lastBucket: Date | null;
}

/** The schedules of a tenant as they apply to it now. */
export async function listTenantSchedules(
  sql: Queryable,
  tenantId: string,
  jobType: string | null = null,
): Promise<TenantSchedule[]> {
  return sql<TenantSchedule[]>`
    select s.job_type as "jobType", e.cohort, e.cron, e.zone, e.splay_seconds as "splaySeconds", e.missed,
      e.missed_most as "missedMost",
      jsonb_build_object('cron', s.cron, 'zone', s.zone, 'splaySeconds', s.splay_seconds, 'missed', s.missed,
        'missedMost', s.missed_most) as override,
      num_nonnulls(s.cron, s.zone, s.splay_seconds, s.missed, s.missed_most) > 0 as "isOverridden",
      case when not s.enabled then 'tenant' when not coalesce(b.enabled, true) then 'cohort' end as "pausedBy",
      case when not s.enabled then jsonb_build_object('by', s.paused_by, 'reason', s.paused_reason)
        when not coalesce(b.enabled, true) then jsonb_build_object('by', b.paused_by, 'reason', b.paused_reason)
        end as pause,
      s.next_due as "nextDue", s.next_bucket as "nextBucket", s.last_bucket as "lastBucket"
    from public.tenant_schedules s
    cross join lateral purser.schedule_of(s, now()) e
    left join public.schedules b on b.job_type = s.job_type and b.cohort = e.cohort
    where s.tenant_id = ${tenantId} and (${jobType}::text is null or s.job_type = ${jobType})
    order by s.job_type`;
}

/** Replaces the whole override; all null removes it. Returns whether the tenant did not have the schedule before. */
export async function setOverride(
  sql: Queryable,
  { jobType, tenantId }: { readonly jobType: string; readonly tenantId: string },
  override: Override,
): Promise<boolean> {
  const { cron, zone, splaySeconds, missed, missedMost } = override;
  const [row] = await sql<{ added: boolean }[]>`
    insert into public.tenant_schedules (tenant_id, job_type, cron, zone, splay_seconds, missed, missed_most)
    values (${tenantId}, ${jobType}, ${cron}, ${zone}, ${splaySeconds}, ${missed}, ${missedMost})
    on conflict (tenant_id, job_type) do update set cron = excluded.cron, zone = excluded.zone,
      splay_seconds = excluded.splay_seconds, missed = excluded.missed, missed_most = excluded.missed_most
    returning xmax = 0 as added`;
  return row?.added === true;
}

export interface ScheduleSummary extends CohortSchedule {
  readonly tenants: number;
  /** Of these tenants. */
  readonly overridden: number;
  readonly paused: number;
  readonly pausedBy: string | null;
  readonly pausedReason: string | null;
}

/** Every schedule, with the number of tenants that are in its cohort now. */
export async function summariseSchedules(sql: Queryable): Promise<ScheduleSummary[]> {
  return sql<ScheduleSummary[]>`
    select b.job_type as "jobType", b.cohort, b.cron, b.zone, b.splay_seconds as "splaySeconds", b.missed,
      b.missed_most as "missedMost", b.enabled, b.paused_by as "pausedBy", b.paused_reason as "pausedReason",
      coalesce(c.tenants, 0) as tenants, coalesce(c.overridden, 0) as overridden, coalesce(c.paused, 0) as paused
    from public.schedules b
    left join (
      select s.job_type, purser.cohort_of(t.plan, t.last_active_at, now()) as cohort, count(*)::int as tenants,
        count(*) filter (where num_nonnulls(s.cron, s.zone, s.splay_seconds, s.missed, s.missed_most) > 0)::int
          as overridden,
        count(*) filter (where not s.enabled)::int as paused
      from public.tenant_schedules s join public.tenants t on t.id = s.tenant_id group by 1, 2
    ) c using (job_type, cohort)
    order by b.job_type, array_position(array['high_value', 'active', 'dormant'], b.cohort)`;
}

/** The tenant's share of a splay. */
export async function splayOf(
  sql: Queryable,
  tenantId: string,
  splaySeconds: number,
  shortestSeconds: number,
): Promise<number> {
  const [row] = await sql<{ seconds: number }[]>`
    select extract(epoch from purser.splay_of(${tenantId}, ${splaySeconds}, ${shortestSeconds}))::int as seconds`;
  return row?.seconds ?? 0;
}
