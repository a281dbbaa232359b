/** An operator's limits of jobs: of a tenant, a type or a group, and of each tenant of a plan. */
import { Overtaken } from '../db/connect.ts';
import type { Sql, Tx } from '../db/connect.ts';
import { clearJobLimit, lockJobLimit, setJobLimit } from '../jobs/limits/job-limits.ts';
import type { LimitTarget, LimitValues } from '../jobs/limits/job-limits.ts';
import { clearPlanLimit, lockPlanLimit, setPlanLimit } from '../jobs/limits/plan-limits.ts';
import type { PlanLimitTarget, PlanLimitValues } from '../jobs/limits/plan-limits.ts';
import { performAct } from './audit.ts';
import type { Act, Operator } from './audit.ts';

interface Reason {
  readonly reason?: string | undefined;
}

function namesOf(target: LimitTarget): Pick<Act, 'tenantId' | 'jobType' | 'target'> {
  const { tenantId, jobType, group, eachTenant = false } = target;
  return { tenantId, jobType, target: group === undefined ? {} : { group, eachTenant } };
}

/** Adds or changes a limit; the same values again are no act. Throws as `setJobLimit`. */
export async function setLimitAs(
  sql: Sql | Tx,
  operator: Operator,
  {
    target,
    values,
    reason,
  }: Reason & { readonly target: LimitTarget; readonly values: LimitValues },
): Promise<void> {
  return performAct(sql, operator, async (tx) => {
    const before = await lockJobLimit(tx, target);
    const done = await setJobLimit(tx, target, { ...values, by: operator.name });
    if (before === undefined && done !== 'added') throw new Overtaken();
    const after = await lockJobLimit(tx, target);
    const change = { before: before ?? null, after: after ?? null };
    return { result: undefined, act: { act: 'limit_set', ...namesOf(target), reason, ...change } };
  });
}

/** Returns whether there was one; else it is no act. Throws as `setJobLimit`. */
export async function clearLimitAs(
  sql: Sql | Tx,
  operator: Operator,
  { target, reason }: Reason & { readonly target: LimitTarget },
): Promise<boolean> {
  return performAct(sql, operator, async (tx) => {
    const before = await clearJobLimit(tx, target);
    if (before === undefined) return { result: false };
    // Of the plan, which counts again.
    const after = (await lockJobLimit(tx, target)) ?? null;
    return {
      result: true,
      act: { act: 'limit_clear', ...namesOf(target), reason, before, after },
    };
  });
}

const ofPlan = ({ plan, jobType }: PlanLimitTarget) => ({ jobType, target: { plan } });

/** As `setLimitAs`, of each tenant of a plan. Throws as `setPlanLimit`. */
export async function setPlanLimitAs(
  sql: Sql | Tx,
  operator: Operator,
  {
    target,
    values,
    reason,
  }: Reason & { readonly target: PlanLimitTarget; readonly values: PlanLimitValues },
): Promise<void> {
  return performAct(sql, operator, async (tx) => {
    const before = await lockPlanLimit(tx, target);
    const done = await setPlanLimit(tx, target, { ...values, by: operator.name });
    if (before === undefined && done !== 'added') throw new Overtaken();
    const { maxStarts, perSeconds } = values;
    const change = { before: before ?? null, after: { maxStarts, perSeconds } };
    return {
      result: undefined,
      act: { act: 'plan_limit_set', ...ofPlan(target), reason, ...change },
    };
  });
}

/** As `clearLimitAs`, of each tenant of a plan. Throws as `setPlanLimit`. */
export async function clearPlanLimitAs(
  sql: Sql | Tx,
  operator: Operator,
  { target, reason }: Reason & { readonly target: PlanLimitTarget },
): Promise<boolean> {
  return performAct(sql, operator, async (tx) => {
    const before = await clearPlanLimit(tx, target);
    if (before === undefined) return { result: false };
    return {
      result: true,
      act: { act: 'plan_limit_clear', ...ofPlan(target), reason, before, after: null },
    };
  });
}
