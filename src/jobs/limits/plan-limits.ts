/**
 * Limits of starts that a plan sets for each of its tenants, for a job type or for all together. They are written into
 * `job_limits` for every tenant, by triggers, so that dispatch knows no plans.
 */
import { atomically } from '../../db/connect.ts';
import type { Queryable, Sql, Tx } from '../../db/connect.ts';
import { codeOf, PurserError } from '../../errors.ts';
import { unknownName } from '../../names.ts';
import { assertKnown } from '../pauses.ts';

export interface PlanLimitTarget {
  readonly plan: string;
  /** Default: all types together. */
  readonly jobType?: string | undefined;
}

export interface PlanLimitValues {
  readonly maxStarts: number;
  readonly perSeconds: number;
}

export interface PlanLimit {
  readonly plan: string;
  /** null: all types together. */
  readonly jobType: string | null;
  readonly maxStarts: number;
  readonly perSeconds: number;
  /** Tenants that have it: those of the plan without a limit of their own. */
  readonly tenants: number;
  readonly by: string;
  readonly at: Date;
}

const foreignKeyViolation = '23503';

/** Adds a limit or changes it, and returns which. Throws `unknown_plan` or `unknown_job_type`. */
export async function setPlanLimit(
  sql: Sql | Tx,
  { plan, jobType }: PlanLimitTarget,
  values: PlanLimitValues & { readonly by: string },
): Promise<'added' | 'changed'> {
  const { maxStarts, perSeconds, by } = values;
  try {
    const [row] = await atomically(
      sql,
      (tx) => tx<{ added: boolean }[]>`
      insert into purser.plan_job_limits (plan, job_type, max_starts, per_seconds, by)
      values (${plan}, ${jobType ?? ''}, ${maxStarts}, ${perSeconds}, ${by})
      on conflict (plan, job_type) do update
        set max_starts = excluded.max_starts, per_seconds = excluded.per_seconds, by = excluded.by, at = now()
      returning xmax = 0 as added`,
    );
    return row?.added === true ? 'added' : 'changed';
  } catch (error) {
    if (codeOf(error) === foreignKeyViolation) await assertTargetKnown(sql, { plan, jobType });
    throw error;
  }
}

/** Returns what it was; undefined: there was none. Throws like `setPlanLimit`. */
export async function clearPlanLimit(
  sql: Queryable,
  { plan, jobType }: PlanLimitTarget,
): Promise<PlanLimitValues | undefined> {
  const [cleared] = await sql<PlanLimitValues[]>`
    delete from purser.plan_job_limits where plan = ${plan} and job_type = ${jobType ?? ''}
    returning max_starts as "maxStarts", per_seconds as "perSeconds"`;
  if (cleared === undefined) await assertTargetKnown(sql, { plan, jobType });
  return cleared;
}

/** The limit of exactly this target, locked until the end of the transaction. */
export async function lockPlanLimit(
  tx: Tx,
  { plan, jobType }: PlanLimitTarget,
): Promise<PlanLimitValues | undefined> {
  const [found] = await tx<PlanLimitValues[]>`
    select max_starts as "maxStarts", per_seconds as "perSeconds" from purser.plan_job_limits
    where plan = ${plan} and job_type = ${jobType ?? ''} for update`;
  return found;
}

/** By plan and type. */
export async function listPlanLimits(sql: Queryable): Promise<PlanLimit[]> {
  return sql<PlanLimit[]>`
    select p.plan, nullif(p.job_type, '') as "jobType", p.max_starts as "maxStarts", p.per_seconds as "perSeconds",
      p.by, p.at, (
        select count(*)::int from public.tenants t
        join public.job_limits l on l.tenant_id = t.id and l.job_type = p.job_type and l.group_name = ''
          and l.starts_of_plan
        where t.plan = p.plan) as tenants
    from purser.plan_job_limits p order by p.plan, p.job_type`;
}

async function assertTargetKnown(
  sql: Queryable,
  { plan, jobType }: PlanLimitTarget,
): Promise<void> {
  const plans = await sql<{ plan: string }[]>`select plan from public.plans order by plan`;
  if (!plans.some((known) => known.plan === plan)) {
    throw new PurserError(
      'unknown_plan',
      `${unknownName('plan', plan)}; use one of ${plans.map((known) => known.plan).join(', ')}`,
      { status: 404 },
    );
  }
  if (jobType !== undefined) await assertKnown(sql, { scope: 'job_type', name: jobType });
}
