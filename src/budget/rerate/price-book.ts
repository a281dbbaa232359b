/** Prices of one model at the times of many calls. A version is read once for each time between two versions. */
import type { Sql } from '../../db/connect.ts';
import type { PinnedPrice, Rates } from '../pinned-price.ts';
import { versionInForce } from '../prices/in-force.ts';
import type { StoredPrice } from '../prices/in-force.ts';
import { publishedKey, publishedPrice } from '../prices/published.ts';
import type { RatedCall } from './calls.ts';

/** Evidence of an adjustment: the price that was in force. */
export const evidenceOf = ({ version, source, packageVersion = '' }: PinnedPrice): string =>
  version === undefined ? `price ${source} ${packageVersion}` : `price ${version}`;

export class PriceBook {
  readonly #sql: Sql;
  readonly #starts = new Map<string, Promise<readonly Date[]>>();
  readonly #stored = new Map<string, Promise<StoredPrice | undefined>>();
  readonly #rates = new Map<string, Promise<Rates | undefined>>();

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  /** What was in force at the time of the call, corrections included; undefined where nothing was. */
  async inForce({ tenantId, model, price, at }: RatedCall): Promise<PinnedPrice | undefined> {
    const query = {
      tenantId,
      model,
      now: at,
      ...(price.provider === undefined ? {} : { provider: price.provider }),
    };
    const models = [model, publishedKey(query)?.model ?? model];
    const starts = await once(this.#starts, JSON.stringify(models), () => this.#startsOf(models));
    const step = starts.filter((start) => start <= at).length;
    const key = JSON.stringify([tenantId, models, price.provider ?? null, step]);
    const stored = await once(this.#stored, key, () => versionInForce(this.#sql, query));
    if (stored === undefined) return publishedPrice(query);
    const { provider } = price;
    return { ...stored, ...(provider === undefined ? {} : { provider }) };
  }

  /** The price at which a call was charged last: pinned, or that of its last re-rating. */
  async charged(call: RatedCall): Promise<PinnedPrice> {
    const { price, model, at } = call;
    const [, version, packageVersion] =
      /^price (?:(\d+)|genai-prices (\S+))/.exec(call.rated.at(-1) ?? '') ?? [];
    if (version !== undefined) {
      const rates = await once(this.#rates, version, () => this.#ratesOf(version));
      return rates === undefined ? price : { ...price, rates };
    }
    if (packageVersion === undefined) return price;
    const { provider } = price;
    const query = { model, now: at, ...(provider === undefined ? {} : { provider }) };
    return publishedPrice(query) ?? price;
  }

  async #startsOf(models: readonly string[]): Promise<readonly Date[]> {
    const rows = await this.#sql<{ start: Date }[]>`
      select distinct v.valid_from as start from llm_price_versions v where v.model = any(${[...models]}::text[])`;
    return rows.map(({ start }) => start);
  }

  async #ratesOf(version: string): Promise<Rates | undefined> {
    const [row] = await this.#sql<{ rates: Rates | null }[]>`
      select v.rates from llm_price_versions v where v.id = ${version}::bigint`;
    return row?.rates ?? undefined;
  }
}

function once<V>(known: Map<string, Promise<V>>, key: string, read: () => Promise<V>): Promise<V> {
  const found = known.get(key) ?? read();
  known.set(key, found);
  return found;
}
