/** `purser limits set|clear --plan`: how many jobs each tenant of a plan may start. */
import { exitCodes, UsageError } from '../../errors.ts';
import type { LimitValues } from '../../jobs/limits/job-limits.ts';
import type { PlanLimit, PlanLimitTarget } from '../../jobs/limits/plan-limits.ts';
import { clearPlanLimitAs, setPlanLimitAs } from '../../operations/limits.ts';
import { withDatabase } from '../runtime/with-database.ts';
import type { Invocation } from '../terminal/command.ts';
import { actOf } from '../terminal/operator-options.ts';
import type { Cell } from '../terminal/table.ts';

/** undefined without `--plan`. */
function targetOf(invocation: Invocation): PlanLimitTarget | undefined {
  const plan = invocation.value('plan');
  if (plan === undefined) return undefined;
  const jobType = invocation.value('type');
  if (plan === '') throw new UsageError('--plan must name a plan');
  if (jobType === '') throw new UsageError('--type must name a job type');
  const other = ['tenant', 'group'].find((name) => invocation.value(name) !== undefined);
  if (other !== undefined || invocation.flag('each-tenant')) {
    throw new UsageError(
      `--plan limits each tenant of the plan: leave out --${other ?? 'each-tenant'}`,
    );
  }
  return { plan, ...(jobType === undefined ? {} : { jobType }) };
}

const titleOf = ({ plan, jobType }: PlanLimitTarget): string =>
  `${jobType === undefined ? 'jobs' : `jobs of type ${jobType}`} of each tenant of plan ${plan}`;

/** undefined where the command is not about a plan. */
export async function setForPlan(
  invocation: Invocation,
  valuesOf: () => LimitValues,
  windowText: (values: LimitValues) => string,
): Promise<number | undefined> {
  const target = targetOf(invocation);
  if (target === undefined) return undefined;
  const values = valuesOf();
  const { maxStarts, perSeconds } = values;
  if (values.maxRunning !== undefined || maxStarts === undefined || perSeconds === undefined) {
    throw new UsageError('a plan limits starts: give --starts N --per TIME, and no --running');
  }
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    await setPlanLimitAs(database.system, operator, {
      target,
      values: { maxStarts, perSeconds },
      reason,
    });
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({ ...target, maxStarts, perSeconds, by: operator.name })
        : `at most ${maxStarts} ${titleOf(target)} in any ${windowText(values)}, by their starts; a tenant's own limit of starts stays`,
    );
    return exitCodes.ok;
  });
}

/** As `setForPlan`. */
export async function clearForPlan(invocation: Invocation): Promise<number | undefined> {
  const target = targetOf(invocation);
  if (target === undefined) return undefined;
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const cleared = await clearPlanLimitAs(database.system, operator, { target, reason });
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({ ...target, cleared })
        : `${titleOf(target)} ${cleared ? 'have no limit of their plan any more' : 'had no limit of their plan'}`,
    );
    return exitCodes.ok;
  });
}

/** Cells of the table of limits. */
export const cellsOfPlan = (
  limit: PlanLimit,
  windowText: (values: LimitValues) => string,
): readonly Cell[] => [
  `(each of plan ${limit.plan}: ${limit.tenants})`,
  limit.jobType ?? '(all)',
  '',
  '',
  '',
  `${limit.maxStarts} in ${windowText({ perSeconds: limit.perSeconds })}`,
  '',
  limit.at,
  limit.by,
];
