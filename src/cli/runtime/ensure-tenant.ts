/**
 * Finds or adds the tenant of an uploaded file. The first analysis of a new tenant is delayed until its upload is
 * ready, for at most 10 minutes.
 */
import type { Queryable, Sql } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import { delayFirstRuns } from '../../schedules/first-run.ts';
import { insertTenant, refuseSimilar } from './add-tenant.ts';
import { checkTenantId } from '../commands/tenants.ts';

const firstRunDelayMs = 600_000;

export interface EnsureTenantOptions {
  readonly create: boolean;
  readonly plan?: string | undefined;
  readonly lastActiveAt?: Date | undefined;
}

/** Returns whether the tenant was added. Throws `unknown_tenant` when it does not exist and `create` is false. */
export async function ensureTenant(
  sql: Sql,
  tenantId: string,
  options: EnsureTenantOptions,
): Promise<boolean> {
  checkTenantId(tenantId);
  if (!options.create) {
    const [known] = await sql`select from public.tenants where id = ${tenantId}`;
    if (known !== undefined) return false;
    throw new PurserError(
      'unknown_tenant',
      `there is no tenant ${JSON.stringify(tenantId)}; add it, or use --create-tenants`,
    );
  }
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
