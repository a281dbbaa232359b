/** Adds tenants, by an operator. An id that people could take for an existing one is refused by name. */
import type { Queryable, Sql } from '../../db/connect.ts';
import { codeOf, PurserError } from '../../errors.ts';
import { delayFirstRuns } from '../../schedules/first-run.ts';
import { performAct } from '../audit.ts';
import type { Operator } from '../audit.ts';
import { planError } from './plans.ts';

const uniqueViolation = '23505';

export interface NewTenant {
  readonly id: string;
  readonly plan: string;
  /** Default now, by the database's clock. */
  readonly lastActiveAt?: Date | undefined;
  /** Holds back the first runs of its schedules for so long, unless they are released before. */
  readonly delayFirstRunsMs?: number | undefined;
  readonly reason?: string | undefined;
}

/**
 * Adds a tenant; its queue row and schedules are added by triggers. False where the id exists, which is no act. Throws
 * `tenant_too_similar` when an existing id differs only in case, blanks or Unicode form, and a usage error for an
 * unknown plan.
 */
export async function addTenantAs(
  sql: Sql,
  operator: Operator,
  tenant: NewTenant,
): Promise<boolean> {
  const { id, plan, delayFirstRunsMs, reason } = tenant;
  try {
    return await performAct(sql, operator, async (tx) => {
      if (!(await insertTenant(tx, tenant))) return { result: false };
      if (delayFirstRunsMs !== undefined) await delayFirstRuns(tx, id, delayFirstRunsMs);
      const change = { before: null, after: { plan } };
      return { result: true, act: { act: 'tenant_add', tenantId: id, reason, ...change } };
    });
  } catch (error) {
    throw await planError(sql, plan, await similarError(sql, id, error));
  }
}

async function similarError(sql: Sql, id: string, error: unknown): Promise<unknown> {
  if (codeOf(error) !== uniqueViolation) return error;
  const [similar] = await sql<{ id: string }[]>`
    select id from public.tenants where purser.tenant_form(id) = purser.tenant_form(${id})`;
  if (similar === undefined || similar.id === id) return error;
  return new PurserError(
    'tenant_too_similar',
    `the id ${JSON.stringify(id)} is too similar to tenant ${JSON.stringify(similar.id)}: ` +
      'they differ only in case, blanks or Unicode form',
    { cause: error },
  );
}

async function insertTenant(sql: Queryable, tenant: NewTenant): Promise<boolean> {
  const added = await sql`
    insert into public.tenants (id, plan, last_active_at)
    values (${tenant.id}, ${tenant.plan}, coalesce(${tenant.lastActiveAt ?? null}::timestamptz, now()))
    on conflict (id) do nothing returning id`;
  return added.length > 0;
}
