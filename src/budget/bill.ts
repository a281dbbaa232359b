/**
 * Prices the usage of one call item by item: class, count, rate, amount. The sum is rounded up once. What the price
 * does not cover is named, never dropped.
 */
import { costNanoUsd, formatUsd, maxDecimal, multiplyDecimals } from './money.ts';
import type { PricedCount } from './money.ts';
import type { PinnedPrice, Rate } from './pinned-price.ts';
import { classRules, tokensOf, usageClasses } from './usage-classes.ts';
import type { UsageClass, UsageCounts } from './usage-classes.ts';

/** One line of a bill, as stored in `llm_usage_items`. */
export interface BillItem {
  /** A `UsageClass`, or the reason of an amount that is no usage. */
  readonly class: string;
  readonly count: number;
  /** USD per `per` units; null where the price has no rate for it. */
  readonly usd: string | null;
  readonly per: PricedCount['per'];
}

export interface Bill {
  readonly items: readonly BillItem[];
  readonly costNanoUsd: bigint;
  /** What was used and has no rate of its own in the price. */
  readonly uncovered: readonly string[];
}

/** Other media than text cost a multiple of it, so the rate of text does not cover them. */
const needOwnRate: ReadonlySet<UsageClass> = new Set([
  'input_audio',
  'output_audio',
  'output_image',
  'output_video',
]);

/**
 * The bill for `counts` at `price`. One `request` is added where the price has a fee per request. `factor` scales the
 * rates of tokens, for a service tier.
 */
export function billOf(price: PinnedPrice, counts: UsageCounts, factor = '1'): Bill {
  const all: UsageCounts = price.rates.request === undefined ? counts : { ...counts, request: 1 };
  const { inputTokens } = tokensOf(counts);
  const items: BillItem[] = [];
  const uncovered: string[] = [];
  for (const name of usageClasses) {
    const count = all[name] ?? 0;
    if (count === 0) continue;
    const rate = rateOf(price, name);
    if (rate === undefined || (needOwnRate.has(name) && price.rates[name] === undefined)) {
      uncovered.push(name);
    }
    items.push(itemOf(name, count, rate, { inputTokens, factor }));
  }
  return { items, costNanoUsd: costOfItems(items), uncovered };
}

function itemOf(
  name: UsageClass,
  count: number,
  rate: Rate | undefined,
  { inputTokens, factor }: { inputTokens: number; factor: string },
): BillItem {
  const per = classRules[name].total === 'fee' ? 1000 : 1_000_000;
  if (rate === undefined) return { class: name, count, usd: null, per };
  const usd = tierAt(rate, inputTokens);
  const scaled = per === 1000 || factor === '1' ? usd : multiplyDecimals(usd, factor);
  return { class: name, count, usd: scaled, per };
}

export function costOfItems(items: readonly BillItem[]): bigint {
  return costNanoUsd(items.map(({ count, usd, per }) => ({ count, usd: usd ?? '0', per })));
}

function rateOf(price: PinnedPrice, name: UsageClass): Rate | undefined {
  const named = [name, ...classRules[name].fallback].find((one) => price.rates[one] !== undefined);
  return named === undefined ? undefined : price.rates[named];
}

/** The tier with the highest start that `inputTokens` exceeds. */
function tierAt(rate: Rate, inputTokens: number): string {
  const reached = (rate.tiers ?? []).filter((tier) => inputTokens > tier.aboveInputTokens);
  return reached.reduce(
    (highest, tier) => (tier.aboveInputTokens >= highest.aboveInputTokens ? tier : highest),
    { aboveInputTokens: -1, usd: rate.usd },
  ).usd;
}

/** The worst case of one request. Every figure is an upper bound, not an estimate. */
export interface CostBound {
  readonly inputTokens: number;
  readonly maxOutputTokens: number;
  /** What the input can be billed as. Default: what a request of text can be. */
  readonly inputClasses?: readonly UsageClass[];
  /** Default: every class of output. */
  readonly outputClasses?: readonly UsageClass[];
  /** The highest factor of the rates of tokens, for a service tier. Default 1. */
  readonly factor?: string;
}

const inputClassesOfText: readonly UsageClass[] = ['input', 'cache_read', 'cache_write'];
const allOutputClasses = usageClasses.filter((name) => classRules[name].total === 'output');

/**
 * The worst case of one request in nano-USD: its input at the highest rate that it can be billed at, all the output that
 * the cap allows at the highest output rate, and the fee per request. Within a tier of the price the cost rises with the
 * input, so the dearest input has the bound's tokens or the last of a tier below it.
 */
export function estimateCost(price: PinnedPrice, bound: CostBound): bigint {
  const { inputTokens } = bound;
  const tierEnds = Object.values(price.rates)
    .flatMap((rate) => rate.tiers ?? [])
    .map((tier) => tier.aboveInputTokens)
    .filter((tokens) => tokens < inputTokens);
  const costs = [inputTokens, ...tierEnds].map((tokens) => costAt(price, bound, tokens));
  return costs.reduce((highest, cost) => (cost > highest ? cost : highest));
}

/**
 * A bound of the same cost as a line, for a cap of output that is not known yet: `fixedUsd` plus `outputUsdPerMtok` per
 * million tokens of the cap. Exact decimal USD. Never less than `estimateCost` of that cap.
 */
export function costLine(
  price: PinnedPrice,
  bound: CostBound,
): { readonly fixedUsd: string; readonly outputUsdPerMtok: string } {
  const { inputTokens, outputClasses = allOutputClasses, factor = '1' } = bound;
  const rates = outputClasses.flatMap((name) => {
    const rate = price.rates[name];
    if (rate === undefined) return [];
    const reached = (rate.tiers ?? []).filter((tier) => inputTokens > tier.aboveInputTokens);
    return [rate.usd, ...reached.map((tier) => tier.usd)];
  });
  return {
    fixedUsd: formatUsd(estimateCost(price, { ...bound, maxOutputTokens: 0 })),
    outputUsdPerMtok: multiplyDecimals(maxDecimal('0', ...rates), factor),
  };
}

function costAt(price: PinnedPrice, bound: CostBound, inputTokens: number): bigint {
  const { inputClasses = inputClassesOfText, outputClasses = allOutputClasses } = bound;
  const highest = (names: readonly UsageClass[]) => {
    const rates = names.map((name) => price.rates[name]).filter((rate) => rate !== undefined);
    const usd = maxDecimal('0', ...rates.map((rate) => tierAt(rate, inputTokens)));
    return multiplyDecimals(usd, bound.factor ?? '1');
  };
  const fee = price.rates.request;
  return costNanoUsd([
    { count: inputTokens, usd: highest(inputClasses), per: 1_000_000 },
    { count: bound.maxOutputTokens, usd: highest(outputClasses), per: 1_000_000 },
    ...(fee === undefined ? [] : [{ count: 1, usd: fee.usd, per: 1000 } as const]),
  ]);
}
