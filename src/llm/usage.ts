/** Tokens of one call as its provider bills them, and what they cost at the pinned price. */
import { costNanoUsd } from '../budget/money.ts';
import { costOfUsage } from '../budget/prices.ts';
import type { PinnedPrice } from '../budget/prices.ts';
import type { TokenUsage } from '../budget/settle.ts';

export interface BilledUsage extends TokenUsage {
  /** Part of `inputTokens`: written to the provider's cache, which can cost more than reading. */
  readonly cacheWriteTokens?: number;
}

/** No call has more; a figure beyond it is a fault, not a bill. */
const maxTokens = 1e9;

/** A count of tokens, or undefined where it is none. An explicit zero is a count. */
export function tokenCount(value: unknown): number | undefined {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) return undefined;
  return value >= 0 && value <= maxTokens ? value : undefined;
}

/**
 * In nano-USD. Purser asks no provider to write its cache; where a proxy does, those tokens cost the
 * dearest input rate of the model, the most that a token of the hold could cost.
 */
export function costOfBilled(price: PinnedPrice, usage: BilledUsage): bigint {
  const cost = costOfUsage(price, usage);
  const tokens = usage.cacheWriteTokens ?? 0;
  if (tokens === 0) return cost;
  const atDearest = costNanoUsd([{ tokens, usdPerMtok: price.dearestInputUsdPerMtok }]);
  return cost + atDearest - costNanoUsd([{ tokens, usdPerMtok: price.input.usdPerMtok }]);
}
