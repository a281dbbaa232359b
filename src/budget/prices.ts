/**
 * The price of a model: the operator's price first, else the published one. A price is pinned on the reservation, and
 * a model without one is refused. All rates are decimal strings, never floats.
 */
import { PurserError } from '../errors.ts';
import type { Queryable } from '../db/connect.ts';
import { mapStoreErrors } from '../db/store-errors.ts';
import type { PinnedPrice } from './pinned-price.ts';
import { publishedPrice } from './published-prices.ts';
import type { PriceQuery } from './published-prices.ts';

/** The price of a model now. Throws `model_unpriced`, naming the model and the fix. */
export async function priceOf(sql: Queryable, query: PriceQuery): Promise<PinnedPrice> {
  const own = await mapStoreErrors('read prices', () => operatorPrice(sql, query));
  const price = own ?? publishedPrice(query);
  if (price !== undefined) return price;
  const model = query.model.slice(0, 200);
  throw new PurserError(
    'model_unpriced',
    `model "${model}" has no price, and a call of unknown price is not made; give it one: insert into ` +
      `llm_prices (model, input_usd_per_mtok, output_usd_per_mtok, usd_per_request) values ` +
      `('${model.replaceAll("'", "''")}', ...)`,
    { details: { model, class: 'fatal' } },
  );
}

async function operatorPrice(sql: Queryable, query: PriceQuery): Promise<PinnedPrice | undefined> {
  const [row] = await sql<{ input: string; output: string; fee: string }[]>`
    select trim_scale(input_usd_per_mtok) as input, trim_scale(output_usd_per_mtok) as output,
      trim_scale(usd_per_request * 1000) as fee
    from llm_prices
    where model = ${query.model} and valid_from <= coalesce(${query.now ?? null}::timestamptz, now())
    order by valid_from desc limit 1`;
  if (row === undefined) return undefined;
  const { input, output, fee } = row;
  return {
    source: 'operator',
    model: query.model,
    rates: {
      input: { usd: input },
      output: { usd: output },
      ...(fee === '0' ? {} : { request: { usd: fee } }),
    },
  };
}
