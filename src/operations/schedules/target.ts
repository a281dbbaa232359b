/** The schedules that an operator names: of a job type, of one of its cohorts, or of one tenant. */
import type { Queryable } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import { assertKnown } from '../../jobs/pauses.ts';
import type { Cohort } from '../../schedules/define.ts';
import { listCohortSchedules, listTenantSchedules } from '../../schedules/settings.ts';
import type { CohortSchedule, TenantSchedule } from '../../schedules/settings.ts';
import type { Act } from '../audit.ts';

export interface ScheduleTarget {
  readonly jobType: string;
  /** null: every cohort. */
  readonly cohort: Cohort | null;
  readonly tenantId: string | undefined;
}

export const titleOf = ({ jobType, cohort, tenantId }: ScheduleTarget): string =>
  tenantId === undefined
    ? `the schedule of ${jobType}${cohort === null ? '' : ` for ${cohort}`}`
    : `the schedule of ${jobType} for tenant ${tenantId}`;

/** As the record of acts names it. */
export const namesOf = ({
  jobType,
  cohort,
  tenantId,
}: ScheduleTarget): Pick<Act, 'tenantId' | 'jobType' | 'target'> => ({
  tenantId,
  jobType,
  target: tenantId === undefined ? { cohort } : {},
});

/** Throws `unknown_job_type` or `unknown_tenant`. */
export async function assertTarget(
  sql: Queryable,
  { jobType, tenantId }: ScheduleTarget,
): Promise<void> {
  await assertKnown(sql, { scope: 'job_type', name: jobType });
  if (tenantId !== undefined) await assertKnown(sql, { scope: 'tenant', name: tenantId });
}

/** What to do about a schedule that is not there. */
export function noSchedule(target: ScheduleTarget): PurserError {
  const { jobType, cohort, tenantId } = target;
  const flag = tenantId === undefined ? `--cohort ${cohort ?? 'C'}` : `--tenant ${tenantId}`;
  return new PurserError(
    'unknown_schedule',
    `${titleOf(target).replace('the schedule', 'there is no schedule')}; add one with: purser schedules set ${jobType} ${flag} --cron "0 */3 * * *"`,
  );
}

/** Throws `unknown_job_type`, or `unknown_schedule` where there is none. */
export async function findCohortSchedules(
  sql: Queryable,
  target: ScheduleTarget,
): Promise<readonly CohortSchedule[]> {
  const found = await listCohortSchedules(sql, target.jobType, target.cohort);
  if (found.length > 0) return found;
  await assertTarget(sql, target);
  throw noSchedule(target);
}

/** Throws `unknown_job_type`, `unknown_tenant`, or `unknown_schedule` where there is none. */
export async function findTenantSchedule(
  sql: Queryable,
  target: ScheduleTarget,
): Promise<TenantSchedule> {
  const [found] = await listTenantSchedules(sql, target.tenantId ?? '', target.jobType);
  if (found !== undefined) return found;
  await assertTarget(sql, target);
  throw noSchedule(target);
}
