/** One tenant with one schedule of a job type of its own, and claims as if the database's clock showed another time. */
import type { Sql } from '../../src/db/connect.ts';
import { claimDueTenants } from '../../src/schedules/claim.ts';
import type { ClaimOptions, ClaimResult } from '../../src/schedules/claim.ts';
import { addJobType } from '../jobs/job-steps.ts';
import { addTenant } from '../support/tenants.ts';

export const scheduled = 'scheduled_step';

export interface Tick {
  readonly bucket: string;
  readonly outcome: string;
  readonly missed: number;
  readonly from: string | null;
  readonly until: string | null;
  readonly reason: string | null;
}

export interface OneSchedule {
  readonly tenantId: string;
  claimAt(time: string, options?: ClaimOptions): Promise<ClaimResult>;
  /** The ticks that have a job, in order. */
  jobs(): Promise<string[]>;
  /** The record, in the order of the ticks. */
  record(): Promise<Tick[]>;
  nextDue(): Promise<string>;
}

const iso = (at: Date): string => at.toISOString().replace('.000Z', 'Z');

/** The plan is `pro`, whose cohort is high_value. Each column is one of public.schedules. */
export async function oneSchedule(
  sql: Sql,
  columns: Readonly<Record<string, string | number | boolean>>,
): Promise<OneSchedule> {
  await sql`delete from tenants`;
  await sql`delete from schedules`;
  await addJobType(sql, scheduled);
  const tenantId = await addTenant(sql, { plan: 'pro' });
  const schedule = { job_type: scheduled, cohort: 'high_value', ...columns };
  await sql`insert into schedules ${sql(schedule)}`;
  return scheduleOf(sql, tenantId);
}

export function scheduleOf(sql: Sql, tenantId: string): OneSchedule {
  return {
    tenantId,
    claimAt: (time, options = {}) =>
      claimDueTenants(sql, {
        claimedBy: 'scheduler-1',
        ...options,
        offsetMs: new Date(time).getTime() - Date.now(),
      }),
    jobs: async () => {
      const rows = await sql<{ key: string }[]>`
        select substr(dedup_key, length(${`${tenantId}:${scheduled}:`}) + 1) as key from background_jobs
        where tenant_id = ${tenantId} and job_type = ${scheduled} order by id`;
      return rows.map(({ key }) => key);
    },
    record: async () => {
      const rows = await sql<
        (Omit<Tick, 'bucket' | 'from' | 'until'> & {
          bucket: Date;
          from: Date | null;
          until: Date | null;
        })[]
      >`
        select bucket, outcome, missed, missed_from as "from", missed_until as until, missed_reason as reason
        from schedule_ticks where tenant_id = ${tenantId} order by bucket`;
      return rows.map((row) => ({
        ...row,
        bucket: iso(row.bucket),
        from: row.from === null ? null : iso(row.from),
        until: row.until === null ? null : iso(row.until),
      }));
    },
    nextDue: async () => {
      const [row] = await sql<{ at: Date }[]>`
        select next_due as at from tenant_schedules where tenant_id = ${tenantId}`;
      return row === undefined ? '' : iso(row.at);
    },
  };
}

/** A tick with a job, before which nothing was missed. */
export const ran = (bucket: string): Tick => ({
  bucket,
  outcome: 'job',
  missed: 0,
  from: null,
  until: null,
  reason: null,
});
