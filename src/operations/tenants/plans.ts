/** The plan of a tenant, changed by an operator. */
import type { Queryable, Sql } from '../../db/connect.ts';
import { codeOf, PurserError, UsageError } from '../../errors.ts';
import { unknownName } from '../../names.ts';
import { performAct } from '../audit.ts';
import type { Operator } from '../audit.ts';

const foreignKeyViolation = '23503';

/** The error that names the plans, in place of one about a plan that is none. */
export async function planError(sql: Queryable, plan: string, error: unknown): Promise<unknown> {
  if (codeOf(error) !== foreignKeyViolation) return error;
  const plans = await sql<
    { plan: string }[]
  >`select plan from public.plans order by monthly_limit_usd`;
  return new UsageError(
    `${unknownName('plan', plan)}; use ${plans.map((row) => row.plan).join(', ')}`,
  );
}

/** The same plan again is no act. Throws `unknown_tenant`, and a usage error for an unknown plan. */
export async function setPlanAs(
  sql: Sql,
  operator: Operator,
  {
    tenantId,
    plan,
    reason,
  }: { readonly tenantId: string; readonly plan: string; readonly reason?: string | undefined },
): Promise<void> {
  try {
    await performAct(sql, operator, async (tx) => {
      const [before] = await tx<{ plan: string }[]>`
        select plan from public.tenants where id = ${tenantId} for no key update`;
      if (before === undefined) {
        throw new PurserError('unknown_tenant', unknownName('tenant', tenantId));
      }
      await tx`update public.tenants set plan = ${plan} where id = ${tenantId}`;
      const change = { before, after: { plan } };
      return { result: undefined, act: { act: 'tenant_set_plan', tenantId, reason, ...change } };
    });
  } catch (error) {
    throw await planError(sql, plan, error);
  }
}
