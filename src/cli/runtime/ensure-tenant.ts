/**
 * Finds or adds the tenant of an uploaded file. The first analysis of a new tenant is delayed until its upload is
 * ready, for at most 10 minutes.
 */
import type { Sql } from '../../db/connect.ts';
import { PurserError, UsageError } from '../../errors.ts';
import { isStorable, nameFault, unknownName } from '../../names.ts';
import type { Operator } from '../../operations/audit.ts';
import { addTenantAs } from '../../operations/tenants/add.ts';
import { operatorName } from '../terminal/operator-name.ts';
import { operatorOf } from '../terminal/operator-options.ts';

const firstRunDelayMs = 600_000;

export interface EnsureTenantOptions {
  readonly create: boolean;
  readonly plan?: string | undefined;
  readonly lastActiveAt?: Date | undefined;
  /** Who adds it. Default: the login on this machine. */
  readonly operator?: Operator | undefined;
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
  return addTenantAs(sql, options.operator ?? operatorOf(operatorName()), {
    id: tenantId,
    plan: options.plan ?? 'free',
    lastActiveAt: options.lastActiveAt,
    delayFirstRunsMs: firstRunDelayMs,
  });
}
