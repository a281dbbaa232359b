/**
 * The price of a model now, or at another time: the tenant's own price, else the operator's, else the published one. A
 * price is pinned on the reservation, and a model without one is refused. All rates are decimal strings, never floats.
 */
import { PurserError } from '../../errors.ts';
import type { Queryable } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import type { PinnedPrice, Rates } from '../pinned-price.ts';
import { publishedKey, publishedPrice, sellerOf } from './published.ts';
import type { PublishedQuery } from './published.ts';
import type { PriceSource } from './versions.ts';

export interface PriceQuery extends PublishedQuery {
  /** undefined: prices of all tenants alone. */
  readonly tenantId: string | undefined;
}

/**
 * The price of a call now. It is read for every call, from one index, and kept by no process: a price that is set
 * counts for every call that begins after its commit. Throws `model_unpriced`, naming the model and the fix, or
 * `store_unavailable` (503).
 */
export async function priceOf(sql: Queryable, query: PriceQuery): Promise<PinnedPrice> {
  const price = await findPrice(sql, query);
  if (price !== undefined) return price;
  const model = query.model.slice(0, 200);
  throw new PurserError(
    'model_unpriced',
    `model "${model}" has no price, and a call of unknown price is not made; give it one: purser prices set ` +
      `--model ${shellWord(model)} --input USD --output USD --reason TEXT (USD per million tokens)`,
    { details: { model, class: 'fatal' } },
  );
}

export interface PastPriceQuery {
  readonly tenantId: string;
  /** As asked for: `llm_reservations.model`. */
  readonly model: string;
  /** `provider` of the pinned price; undefined where it has none. */
  readonly provider: string | undefined;
  readonly at: Date;
}

/**
 * What a call at that time cost, by all that is known now: corrections that were added later are part of it. undefined
 * where there was no price. A price with a `version` has that row of `llm_price_versions`.
 */
export async function priceInForce(
  sql: Queryable,
  { tenantId, model, provider, at }: PastPriceQuery,
): Promise<PinnedPrice | undefined> {
  return findPrice(sql, {
    tenantId,
    model,
    now: at,
    ...(provider === undefined ? {} : { provider }),
  });
}

async function findPrice(sql: Queryable, query: PriceQuery): Promise<PinnedPrice | undefined> {
  const row = await versionInForce(sql, query);
  if (row === undefined) return publishedPrice(query);
  const provider = sellerOf(query);
  const { source, model, rates, version } = row;
  return { source, model, rates, ...(provider === undefined ? {} : { provider }), version };
}

/** The stored version alone; undefined where the published price of the package counts. */
export const versionInForce = (
  sql: Queryable,
  query: PriceQuery,
): Promise<StoredPrice | undefined> => mapStoreErrors('read prices', () => findVersion(sql, query));

export interface StoredPrice {
  readonly version: string;
  readonly source: PriceSource;
  readonly model: string;
  readonly rates: Rates;
}

/** A scope without a version, or whose version ended its price, leaves the call to the next scope. */
async function findVersion(sql: Queryable, query: PriceQuery): Promise<StoredPrice | undefined> {
  const { model } = query;
  const tenantId = query.tenantId ?? '';
  const provider = sellerOf(query) ?? '';
  const published = publishedKey(query);
  const [row] = await sql<StoredPrice[]>`
    select v.id::text as version, v.source, v.model, v.rates
    from (values
      (1, 'operator', ${tenantId}::text, ${provider}::text, ${model}::text),
      (2, 'operator', ${tenantId}::text, '', ${model}::text),
      (3, 'operator', '', ${provider}::text, ${model}::text),
      (4, 'operator', '', '', ${model}::text),
      (5, 'genai-prices', '', ${published?.provider ?? null}::text, ${published?.model ?? null}::text)
    ) s (rank, source, tenant_id, provider, model)
    cross join lateral (
      select p.id, p.source, p.model, p.rates from llm_price_versions p
      where p.model = s.model and p.source = s.source and coalesce(p.tenant_id, '') = s.tenant_id
        and coalesce(p.provider, '') = s.provider
        and p.valid_from <= coalesce(${query.now ?? null}::timestamptz, now())
      order by p.valid_from desc, p.id desc limit 1) v
    where v.rates is not null
    order by s.rank limit 1`;
  return row;
}

/** As one word for a shell. */
const shellWord = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
