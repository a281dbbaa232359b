/**
 * Encrypted values and the version of the key that each needs: counted, handed to a rotation in batches, and
 * stored again. A job rotates one place of one tenant; rows that are done are not met again.
 */
import type { Queryable } from '../db/connect.ts';
import type { TenantSql } from '../db/tenant.ts';

export const rotationJobType = 'key_rotation';

export interface EncryptedCount {
  /** table.column. */
  readonly place: string;
  /** null where the row does not say. */
  readonly keyVersion: number | null;
  readonly values: number;
}

/** Values per place and key version. Of payloads those of jobs that can still run, dead letters included. */
export async function countEncryptedValues(sql: Queryable): Promise<EncryptedCount[]> {
  return sql<EncryptedCount[]>`
    select place, key_version as "keyVersion", sum(value_count)::float8 as "values"
    from purser.count_encrypted_values() group by 1, 2 order by 1, 2`;
}

export interface StartedRotation {
  readonly jobs: number;
  /** Of these, the ones that were under way already. */
  readonly underWay: number;
  readonly values: number;
}

/** One job per tenant and place that has values of another key version; none beside one that has not ended. */
export async function startRotation(
  sql: Queryable,
  toVersion: number,
  by: string,
): Promise<StartedRotation> {
  const [row] = await sql<StartedRotation[]>`
    select count(*)::int as jobs, (count(*) filter (where not created))::int as "underWay",
           coalesce(sum(w.value_count), 0)::float8 as "values"
    from (
      select c.tenant_id, c.place, sum(c.value_count) as value_count from purser.count_encrypted_values() c
      where c.key_version is distinct from ${toVersion} group by 1, 2 order by 1, 2
    ) w cross join lateral purser.enqueue(
      w.tenant_id, ${rotationJobType}, jsonb_build_object('place', w.place, 'toVersion', ${toVersion}::int),
      format('%s v%s', w.place, ${toVersion}::int), p_dedup_window => interval '0',
      p_detail => jsonb_build_object('by', ${by}::text)) e`;
  return row ?? { jobs: 0, underWay: 0, values: 0 };
}

export interface EncryptedValue {
  readonly rowId: string;
  /** What the token is bound to, and its purpose. */
  readonly place: string;
  readonly purpose: string;
  readonly token: string;
}

/** The tenant's next values that need another key than `toVersion`, of at most `limit` rows after `afterRow`. */
export async function listValuesToRotate(
  sql: TenantSql,
  place: string,
  toVersion: number,
  { afterRow, limit }: { readonly afterRow: string | null; readonly limit: number },
): Promise<EncryptedValue[]> {
  return sql<EncryptedValue>`
    select row_id as "rowId", place, purpose, token
    from purser.values_to_rotate(${place}, ${toVersion}, ${afterRow}, ${limit})`;
}

/** Replaces each token by its successor where it still stands. Returns how many did. */
export async function storeRotated(
  sql: TenantSql,
  place: string,
  toVersion: number,
  values: readonly { rowId: string; token: string; rotated: string }[],
): Promise<number> {
  const [row] = await sql<{ replaced: number }>`
    select purser.store_rotated(${place}, ${toVersion}, ${JSON.stringify(values)}::text::jsonb) as replaced`;
  return row?.replaced ?? 0;
}
