/**
 * The price of a model's tokens: the operator's price first, else the published one. A price is pinned on the
 * reservation, and a model without one is refused. All rates are decimal strings, never floats.
 */
import { calcPrice, findProvider } from '@pydantic/genai-prices';
import { PurserError } from '../errors.ts';
import type { Queryable } from '../db/connect.ts';
import { costNanoUsd, decimalOfNumber, maxDecimal } from './money.ts';
import type { TokenUsage } from './settle.ts';
import { mapStoreErrors } from '../db/store-errors.ts';

/** A rate in USD per million tokens; tiers replace it for a whole request above their input tokens. */
interface TieredRate {
  readonly usdPerMtok: string;
  readonly tiers?: readonly { readonly aboveInputTokens: number; readonly usdPerMtok: string }[];
}

/** As stored in `llm_reservations.price`. */
export interface PinnedPrice {
  /** `operator` (llm_prices) or `genai-prices` (published). */
  readonly source: string;
  readonly model: string;
  readonly input: TieredRate;
  readonly output: TieredRate;
  readonly cachedInput?: TieredRate;
  /** Reasoning tokens, where they are billed apart from other output. */
  readonly reasoning?: TieredRate;
  readonly usdPerThousandRequests?: string;
  /** Upper bounds, which a hold uses. */
  readonly dearestInputUsdPerMtok: string;
  readonly dearestOutputUsdPerMtok: string;
}

export interface PriceQuery {
  readonly model: string;
  /** Base URL of the request, to distinguish providers that sell the same model. */
  readonly baseUrl?: string;
  readonly now?: Date;
}

/** The price of a model now. Throws `model_unpriced`, naming the model and the fix. */
export async function priceOf(sql: Queryable, query: PriceQuery): Promise<PinnedPrice> {
  const own = await mapStoreErrors('read prices', () => operatorPrice(sql, query));
  const price = own ?? publishedPrice(query);
  if (price !== undefined) return price;
  const model = query.model.slice(0, 200);
  throw new PurserError(
    'model_unpriced',
    `model "${model}" has no price, and a call of unknown price is not made; give it one: insert into ` +
      `llm_prices (model, input_usd_per_mtok, output_usd_per_mtok) values ('${model.replaceAll("'", "''")}', ...)`,
    { details: { model, class: 'fatal' } },
  );
}

async function operatorPrice(sql: Queryable, query: PriceQuery): Promise<PinnedPrice | undefined> {
  const [row] = await sql<{ input: string; output: string }[]>`
    select trim_scale(input_usd_per_mtok) as input, trim_scale(output_usd_per_mtok) as output
    from llm_prices
    where model = ${query.model} and valid_from <= coalesce(${query.now ?? null}::timestamptz, now())
    order by valid_from desc limit 1`;
  if (row === undefined) return undefined;
  return {
    source: 'operator',
    model: query.model,
    input: { usdPerMtok: row.input },
    output: { usdPerMtok: row.output },
    dearestInputUsdPerMtok: row.input,
    dearestOutputUsdPerMtok: row.output,
  };
}

/**
 * From @pydantic/genai-prices: by the provider that the base URL belongs to; a base URL of no known
 * provider (a proxy, a test server) is priced by the model's name alone.
 */
export function publishedPrice(query: PriceQuery): PinnedPrice | undefined {
  const provider =
    query.baseUrl === undefined ? undefined : findProvider({ providerApiUrl: query.baseUrl });
  const found = calcPrice({}, query.model, {
    timestamp: query.now ?? new Date(),
    ...(provider === undefined ? {} : { provider }),
  });
  if (found === null) return undefined;
  const rates = found.model_price;
  const input = rateOf(rates['input_mtok']);
  const output = rateOf(rates['output_mtok']);
  if (input === undefined || output === undefined) return undefined;
  const cached = rateOf(rates['cache_read_mtok']);
  const reasoning = rateOf(rates['output_reasoning_mtok']);
  const perThousand = rates['requests_kcount'];
  const inputKinds = [cached, rateOf(rates['cache_write_mtok'])];
  return {
    source: 'genai-prices',
    model: found.model.id,
    input,
    output,
    ...(cached === undefined ? {} : { cachedInput: cached }),
    ...(reasoning === undefined ? {} : { reasoning }),
    ...(typeof perThousand === 'number'
      ? { usdPerThousandRequests: decimalOfNumber(perThousand) }
      : {}),
    dearestInputUsdPerMtok: dearest(input, ...inputKinds),
    dearestOutputUsdPerMtok: dearest(output, reasoning),
  };
}

interface PublishedTiers {
  readonly base: number;
  readonly tiers: readonly { readonly start: number; readonly price: number }[];
}

function rateOf(rate: number | PublishedTiers | undefined): TieredRate | undefined {
  if (rate === undefined) return undefined;
  if (typeof rate === 'number') return { usdPerMtok: decimalOfNumber(rate) };
  return {
    usdPerMtok: decimalOfNumber(rate.base),
    tiers: rate.tiers.map(({ start, price }) => ({
      aboveInputTokens: start,
      usdPerMtok: decimalOfNumber(price),
    })),
  };
}

function dearest(first: TieredRate, ...others: readonly (TieredRate | undefined)[]): string {
  const all = [first, ...others].filter((rate) => rate !== undefined);
  return maxDecimal(
    first.usdPerMtok,
    ...all.flatMap((rate) => [rate.usdPerMtok, ...(rate.tiers ?? []).map((t) => t.usdPerMtok)]),
  );
}

/**
 * The worst case of one request in nano-USD: every input token at the dearest input rate, every output
 * token that the cap allows at the dearest output rate. `inputTokens` must itself be a bound.
 */
export function estimateCost(
  price: PinnedPrice,
  bound: { readonly inputTokens: number; readonly maxOutputTokens: number },
): bigint {
  return costNanoUsd(
    [
      { tokens: bound.inputTokens, usdPerMtok: price.dearestInputUsdPerMtok },
      { tokens: bound.maxOutputTokens, usdPerMtok: price.dearestOutputUsdPerMtok },
    ],
    price.usdPerThousandRequests,
  );
}

/** What usage cost at the pinned price, in nano-USD. Cached and reasoning tokens are parts, not extras. */
export function costOfUsage(price: PinnedPrice, usage: TokenUsage): bigint {
  const { inputTokens, outputTokens } = usage;
  const cached = Math.min(usage.cachedTokens, inputTokens);
  const reasoning = Math.min(usage.reasoningTokens, outputTokens);
  const at = (rate: TieredRate) => tierFor(rate, inputTokens);
  return costNanoUsd(
    [
      { tokens: inputTokens - cached, usdPerMtok: at(price.input) },
      { tokens: cached, usdPerMtok: at(price.cachedInput ?? price.input) },
      { tokens: outputTokens - reasoning, usdPerMtok: at(price.output) },
      { tokens: reasoning, usdPerMtok: at(price.reasoning ?? price.output) },
    ],
    price.usdPerThousandRequests,
  );
}

function tierFor(rate: TieredRate, inputTokens: number): string {
  const reached = (rate.tiers ?? []).filter((tier) => inputTokens > tier.aboveInputTokens);
  return reached.reduce(
    (highest, tier) => (tier.aboveInputTokens >= highest.aboveInputTokens ? tier : highest),
    { aboveInputTokens: -1, usdPerMtok: rate.usdPerMtok },
  ).usdPerMtok;
}
