/** Adds tenants; an id that people could take for an existing one is refused by name. */
import type { Queryable } from '../../db/connect.ts';
import { codeOf, PurserError } from '../../errors.ts';

const uniqueViolation = '23505';

export interface NewTenant {
  readonly id: string;
  readonly plan: string;
  /** Default now, by the database's clock. */
  readonly lastActiveAt?: Date | undefined;
}

/**
 * Runs `insert`. Throws `tenant_too_similar` when an existing id differs from `id` only in case, blanks or Unicode
 * form. `sql` must not be in the transaction of `insert`, which the refusal aborts.
 */
export async function refuseSimilar<T>(
  sql: Queryable,
  id: string,
  insert: () => Promise<T>,
): Promise<T> {
  try {
    return await insert();
  } catch (error) {
    if (codeOf(error) !== uniqueViolation) throw error;
    const [similar] = await sql<{ id: string }[]>`
      select id from public.tenants where purser.tenant_form(id) = purser.tenant_form(${id})`;
    if (similar === undefined || similar.id === id) throw error;
    throw new PurserError(
      'tenant_too_similar',
      `the id ${JSON.stringify(id)} is too similar to tenant ${JSON.stringify(similar.id)}: ` +
        'they differ only in case, blanks or Unicode form',
      { cause: error },
    );
  }
}

/** Inserts the row; its queue row and schedules are added by triggers. Returns false when the id exists. */
export async function insertTenant(sql: Queryable, tenant: NewTenant): Promise<boolean> {
  const added = await sql`
    insert into public.tenants (id, plan, last_active_at)
    values (${tenant.id}, ${tenant.plan}, coalesce(${tenant.lastActiveAt ?? null}::timestamptz, now()))
    on conflict (id) do nothing returning id`;
  return added.length > 0;
}
