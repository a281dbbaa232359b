/** The built-in schedules: the cost analysis of a tenant, more often for cohorts of higher plans. */
import type { Queryable } from '../db/connect.ts';

export const cohorts = ['high_value', 'active', 'dormant'] as const;
export type Cohort = (typeof cohorts)[number];

export interface Schedule {
  readonly jobType: string;
  readonly cohort: Cohort;
  readonly cron: string;
  readonly zone: string;
  /** Each tenant's ticks have a fixed offset of up to this many seconds, so that not all are due at once. */
  readonly splaySeconds: number;
}

export const defaultSchedules: readonly Schedule[] = [
  {
    jobType: 'finops_analysis',
    cohort: 'high_value',
    cron: '0 * * * *',
    zone: 'UTC',
    splaySeconds: 60,
  },
  {
    jobType: 'finops_analysis',
    cohort: 'active',
    cron: '0 */3 * * *',
    zone: 'UTC',
    splaySeconds: 300,
  },
  {
    jobType: 'finops_analysis',
    cohort: 'dormant',
    cron: '0 0 * * *',
    zone: 'UTC',
    splaySeconds: 900,
  },
];

/** Adds missing schedules; existing ones stay as they are. */
export async function addMissingSchedules(
  sql: Queryable,
  schedules: readonly Schedule[],
): Promise<number> {
  const added = await sql`
    insert into public.schedules (job_type, cohort, cron, zone, splay_seconds)
    select s->>'jobType', s->>'cohort', s->>'cron', s->>'zone', (s->>'splaySeconds')::int
    from jsonb_array_elements(${JSON.stringify(schedules)}::text::jsonb) s
    on conflict do nothing`;
  return added.count;
}

export async function listSchedules(sql: Queryable): Promise<Schedule[]> {
  return sql<Schedule[]>`
    select job_type as "jobType", cohort, cron, zone, splay_seconds as "splaySeconds"
    from public.schedules order by job_type, cohort`;
}
