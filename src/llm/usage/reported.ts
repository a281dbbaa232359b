/** The usage that a provider reports for one call, in the classes of usage of Purser's prices. */
import type { UsageClass, UsageCounts } from '../../budget/usage-classes.ts';

export interface ReportedUsage {
  readonly counts: UsageCounts;
  /** The model that answered, which may differ from the requested one. */
  readonly model?: string | undefined;
  /** The service tier that answered, in lower case; absent where it is the standard one. */
  readonly tier?: string | undefined;
  /** What the provider says that it charged, as a decimal in USD. */
  readonly chargedUsd?: string | undefined;
}

/** No call has more; a greater figure is an error. */
const maxTokens = 1e9;

/** A count of tokens, or undefined where `value` is none. An explicit zero is a count. */
export function tokenCount(value: unknown): number | undefined {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) return undefined;
  return value >= 0 && value <= maxTokens ? value : undefined;
}

/** A count that is zero where it is missing or invalid. */
export function optionalCount(value: unknown): number {
  return tokenCount(value) ?? 0;
}

/** Long enough for every model and tier; the text is stored and logged. */
const maxTextLength = 200;

/** Text that a column can hold: bounded, without the NUL and the lone surrogates that JSON can contain. */
export function optionalText(value: unknown): string | undefined {
  if (typeof value !== 'string' || value === '') return undefined;
  return value.slice(0, maxTextLength).replaceAll('\u0000', '\uFFFD').toWellFormed();
}

/** Names of the standard tier, which a response may contain. */
const standardTiers = new Set([
  'standard',
  'default',
  'auto',
  'on_demand',
  'traffic_type_unspecified',
  'unspecified',
]);

export function tierOf(value: unknown): string | undefined {
  const tier = optionalText(value)?.toLowerCase();
  return tier === undefined || standardTiers.has(tier) ? undefined : tier;
}

/**
 * Splits `total` into `parts` and the rest, which is `rest`. Parts that add up to more than the total are cut, later
 * ones first: a provider bills no token twice.
 */
export function split(
  total: number,
  rest: UsageClass,
  parts: readonly (readonly [UsageClass, number])[],
): UsageCounts {
  const counts: Partial<Record<UsageClass, number>> = {};
  let left = total;
  for (const [name, count] of parts) {
    const taken = Math.min(count, left);
    if (taken > 0) counts[name] = (counts[name] ?? 0) + taken;
    left -= taken;
  }
  if (left > 0) counts[rest] = (counts[rest] ?? 0) + left;
  return counts;
}
