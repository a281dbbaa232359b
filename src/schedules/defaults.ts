/** The built-in schedules: the cost analysis of a tenant, more often for cohorts of higher plans. */
import type { Queryable } from '../db/connect.ts';
import type { DefinedSchedule } from './define.ts';

const analysis = {
  jobType: 'finops_analysis',
  zone: 'UTC',
  missed: 'once',
  missedMost: 24,
} as const;

// Literals: most processes that add them need no cron.
export const defaultSchedules: readonly DefinedSchedule[] = [
  { ...analysis, cron: '0 * * * *', splaySeconds: 60, cohorts: ['high_value'] },
  { ...analysis, cron: '0 */3 * * *', splaySeconds: 300, cohorts: ['active'] },
  { ...analysis, cron: '0 0 * * *', splaySeconds: 900, cohorts: ['dormant'] },
];

/** Adds missing schedules; existing ones stay as they are, whoever made or changed them. */
export async function addMissingSchedules(
  sql: Queryable,
  schedules: readonly DefinedSchedule[],
): Promise<number> {
  const added = await sql`
    insert into public.schedules (job_type, cohort, cron, zone, splay_seconds, missed, missed_most)
    select s->>'jobType', c.cohort, s->>'cron', s->>'zone', (s->>'splaySeconds')::int, s->>'missed',
      (s->>'missedMost')::int
    from jsonb_array_elements(${JSON.stringify(schedules)}::text::jsonb) s
    cross join lateral jsonb_array_elements_text(s->'cohorts') c (cohort)
    on conflict do nothing`;
  return added.count;
}
