/** Versions of prices in `llm_price_versions`, which are added and never changed. */
import type { Queryable } from '../../db/connect.ts';
import type { Rates } from '../pinned-price.ts';

export type PriceSource = 'operator' | 'genai-prices';

/** What a version is the price of. */
export interface PriceScope {
  readonly source: PriceSource;
  /** null: all tenants. */
  readonly tenantId: string | null;
  /** null: whoever sells the model. */
  readonly provider: string | null;
  readonly model: string;
}

export interface NewVersion extends PriceScope {
  readonly validFrom: Date;
  /** null: from then on the scope has no price, and the next one counts. */
  readonly rates: Rates | null;
}

export interface PriceVersion extends NewVersion {
  /** Id of the row; in `version` of a pinned price. */
  readonly version: string;
  readonly createdAt: Date;
  readonly by: string;
  readonly reason: string;
  /** Whether it is what its scope costs now, if no other scope is ahead of it. */
  readonly inForce: boolean;
}

/**
 * Writers of versions wait for one another until the end of the transaction, so that none misses what another has just
 * added; calls, which only read, wait for none. Returns the database's time in whole milliseconds.
 */
export async function lockPrices(tx: Queryable): Promise<Date> {
  await tx`lock table llm_price_versions in share row exclusive mode`;
  const [row] = await tx<{ now: Date }[]>`
    select date_trunc('milliseconds', clock_timestamp()) as now`;
  if (row === undefined) throw new Error('the database told no time');
  return row.now;
}

/** Returns their ids in the order of `versions`. Throws 23503 for a tenant that is not there. */
export async function insertVersions(
  tx: Queryable,
  versions: readonly NewVersion[],
  record: { readonly by: string; readonly reason: string },
): Promise<string[]> {
  const rows = await tx<{ id: string }[]>`
    insert into llm_price_versions (source, tenant_id, provider, model, valid_from, rates, by, reason)
    select v.source, v.tenant_id, v.provider, v.model, v.valid_from, v.rates, ${record.by}, ${record.reason}
    from rows from (jsonb_to_recordset(${JSON.stringify(versions.map(rowOf))}::text::jsonb)
      as (source text, tenant_id text, provider text, model text, valid_from timestamptz, rates jsonb))
      with ordinality as v (source, tenant_id, provider, model, valid_from, rates, place)
    order by v.place
    returning id`;
  return rows.map(({ id }) => id);
}

const rowOf = ({ source, tenantId, provider, model, validFrom, rates }: NewVersion) => ({
  source,
  tenant_id: tenantId,
  provider,
  model,
  valid_from: validFrom,
  rates,
});

export interface VersionFilter {
  /** Names of one model, such as the requested one and the published one. */
  readonly models?: readonly string[] | undefined;
  /** Versions of this tenant, and of all tenants. */
  readonly tenantId?: string | undefined;
  /** Versions of these providers, and of whoever sells the model. */
  readonly providers?: readonly string[] | undefined;
  readonly source?: PriceSource | undefined;
  /** Also those that are in force no more, or not yet. */
  readonly history?: boolean | undefined;
}

/** By model and scope, in each by the time from which they hold. */
export async function listVersions(sql: Queryable, filter: VersionFilter): Promise<PriceVersion[]> {
  const { models, tenantId, providers, source, history = false } = filter;
  return sql<PriceVersion[]>`
    select * from (
      select v.id::text as version, v.source, v.tenant_id as "tenantId", v.provider, v.model,
        v.valid_from as "validFrom", v.rates, v.created_at as "createdAt", v.by, v.reason,
        v.valid_from <= now() and row_number() over (
          partition by v.model, v.source, v.tenant_id, v.provider, v.valid_from <= now()
          order by v.valid_from desc, v.id desc) = 1 as "inForce"
      from llm_price_versions v
      where (${models === undefined} or v.model = any(${[...(models ?? [])]}::text[]))
        and (${tenantId === undefined} or v.tenant_id is null or v.tenant_id = ${tenantId ?? null}::text)
        and (${providers === undefined} or v.provider is null or v.provider = any(${[...(providers ?? [])]}::text[]))
        and (${source === undefined} or v.source = ${source ?? null}::text)) v
    where ${history} or (v."inForce" and v.rates is not null)
    order by v.model, v.source = 'genai-prices', v."tenantId" nulls last, v.provider nulls last,
      v."validFrom", v.version::bigint`;
}
