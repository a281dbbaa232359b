/**
 * Key rotation: counts encrypted values by key version, lists them in batches, and stores them re-encrypted. One job
 * rotates one column of one tenant; rows that have the new version are not listed again.
 */
import type { Queryable } from '../db/connect.ts';
import type { TenantSql } from '../db/tenant.ts';

export const rotationJobType = 'key_rotation';

export interface EncryptedCount {
  /** table.column. */
  readonly place: string;
  /** null if the row has none. */
  readonly keyVersion: number | null;
  readonly values: number;
}

/** Values per place and key version; payloads only of jobs that can still run, and of dead letters. */
export async function countEncryptedValues(sql: Queryable): Promise<EncryptedCount[]> {
  return sql<EncryptedCount[]>`
    select place, key_version as "keyVersion", sum(value_count)::float8 as "values"
    from purser.count_encrypted_values() group by 1, 2 order by 1, 2`;
}

export interface StartedRotation {
  readonly jobs: number;
  /** Of those that this call has started. */
  readonly jobIds: readonly string[];
  /** How many of these had been started before. */
  readonly underWay: number;
  readonly values: number;
}

/** Starts one job per tenant and place with values of another key version, unless such a job has not ended yet. */
export async function startRotation(
  sql: Queryable,
  toVersion: number,
  by: string,
): Promise<StartedRotation> {
  const [row] = await sql<StartedRotation[]>`
    select count(*)::int as jobs, coalesce(array_agg(e.job_id::text) filter (where e.created), '{}') as "jobIds", (count(*) filter (where not created))::int as "underWay",
           coalesce(sum(w.value_count), 0)::float8 as "values"
    from (
      select c.tenant_id, c.place, sum(c.value_count) as value_count from purser.count_encrypted_values() c
      where c.key_version is distinct from ${toVersion} group by 1, 2 order by 1, 2
    ) w cross join lateral purser.enqueue(
      w.tenant_id, ${rotationJobType}, jsonb_build_object('place', w.place, 'toVersion', ${toVersion}::int),
      format('%s v%s', w.place, ${toVersion}::int), p_dedup_window => interval '0',
      p_detail => jsonb_build_object('by', ${by}::text)) e`;
  return row ?? { jobs: 0, jobIds: [], underWay: 0, values: 0 };
}

export interface EncryptedValue {
  readonly rowId: string;
  /** Context and purpose that the token is bound to. */
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

/** Replaces each token that is still stored by its new one. Returns the number of replaced tokens. */
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
