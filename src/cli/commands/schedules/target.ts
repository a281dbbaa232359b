/** Whom a `schedules` command is about: the tenants of a cohort, or one tenant. */
import { UsageError } from '../../../errors.ts';
import type { ScheduleTarget } from '../../../operations/schedules/target.ts';
import { cohorts } from '../../../schedules/define.ts';
import type { Invocation } from '../../terminal/command.ts';

export const targetPositional = {
  name: 'TYPE',
  help: 'job type, e.g. finops_analysis',
  required: true,
};
export const cohortOption = { value: 'C', help: `the tenants of a cohort: ${cohorts.join(', ')}` };
export const tenantOption = { value: 'T', help: 'one tenant' };

/** Throws a usage error for an unknown cohort, and for a cohort and a tenant. */
export function targetOf(invocation: Invocation): ScheduleTarget {
  const cohort = invocation.value('cohort');
  const tenantId = invocation.value('tenant');
  if (cohort !== undefined && tenantId !== undefined) {
    throw new UsageError('name one of --cohort C and --tenant T');
  }
  const known = cohorts.find((name) => name === cohort);
  if (cohort !== undefined && known === undefined) {
    throw new UsageError(
      `--cohort: there is no cohort ${JSON.stringify(cohort)}; use ${cohorts.join(', ')}`,
    );
  }
  return { jobType: invocation.positionals[0] ?? '', cohort: known ?? null, tenantId };
}
