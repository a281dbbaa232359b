/**
 * Finds or adds the tenant of an uploaded file. The first analysis of a new tenant is delayed until its upload is
 * ready, for at most 10 minutes.
 */
import type { Queryable, Sql } from '../../db/connect.ts';
import { PurserError, UsageError } from '../../errors.ts';
import { isStorable, nameFault, unknownName } from '../../names.ts';
import { delayFirstRuns } from '../../schedules/first-run.ts';
import { insertTenant, refuseSimilar } from './add-tenant.ts';

const firstRunDelayMs = 600_000;

export interface EnsureTenantOptions {
  readonly create: boolean;
  readonly plan?: string | undefined;
  readonly lastActiveAt?: Date | undefined;
}

/**
 * Returns whether the tenant was added. Throws `unknown_tenant` when it does not exist and `create` is false, and a
 * usage error for an id that a new tenant may not have.
 */
export async function ensureTenant(
  sql: Sql,
  tenantId: string,
  options: EnsureTenantOptions,
): Promise<boolean> {
  const [known] = isStorable(tenantId)
    ? await sql`select from public.tenants where id = ${tenantId}`
    : [];
  if (known !== undefined) return false;
  if (!options.create) {
    throw new PurserError(
      'unknown_tenant',
      `${unknownName('tenant', tenantId)}; add it, or use --create-tenants`,
    );
  }
  const fault = nameFault('tenant', tenantId);
  if (fault !== undefined) throw new UsageError(fault);
  const tenant = {
    id: tenantId,
    plan: options.plan ?? 'free',
    lastActiveAt: options.lastActiveAt,
  };
  const add = async (tx: Queryable): Promise<boolean> => {
    if (!(await insertTenant(tx, tenant))) return false;
    await delayFirstRuns(tx, tenantId, firstRunDelayMs);
    return true;
  };
  return refuseSimilar(sql, tenantId, () => sql.begin(add));
}
