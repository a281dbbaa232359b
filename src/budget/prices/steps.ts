/**
 * A price over time as steps: each holds from its time until the next one. What published prices say is compared with
 * what is stored, so that a sync writes the steps that are missing and no other.
 */
import { multiplyDecimals } from '../money.ts';
import type { Rate, Rates } from '../pinned-price.ts';
import { usageClasses } from '../usage-classes.ts';

export interface PriceStep {
  readonly validFrom: Date;
  /** null: no price from then on. */
  readonly rates: Rates | null;
}

/** Since ever: of a published price that does not say from when it holds. */
export const always = new Date(0);

/** What holds at `time`; of two steps from the same time the later one counts. null where nothing does. */
export function ratesAt(steps: readonly PriceStep[], time: Date): Rates | null {
  let found: PriceStep | undefined;
  for (const step of steps) {
    if (step.validFrom > time) continue;
    if (found === undefined || step.validFrom >= found.validFrom) found = step;
  }
  return found?.rates ?? null;
}

/**
 * The steps to store after which the price is as `published`. A published step that has a date holds from that date. A
 * difference without one holds from `from` on, because nobody knows since when: what is stored for earlier times stays.
 */
export function missingSteps(
  stored: readonly PriceStep[],
  published: readonly PriceStep[],
  from: Date,
): PriceStep[] {
  if (stored.length === 0) return withoutRepeats(published);
  const times = [
    ...published.map(({ validFrom }) => validFrom).filter((time) => time > always),
    from,
    ...stored.map(({ validFrom }) => validFrom).filter((time) => time > from),
  ].toSorted((one, other) => one.getTime() - other.getTime());
  const missing: PriceStep[] = [];
  for (const validFrom of times) {
    const rates = ratesAt(published, validFrom);
    if (sameRates(ratesAt([...stored, ...missing], validFrom), rates)) continue;
    missing.push({ validFrom, rates });
  }
  return missing;
}

function withoutRepeats(steps: readonly PriceStep[]): PriceStep[] {
  const kept: PriceStep[] = [];
  for (const step of steps) {
    if (!sameRates(kept.at(-1)?.rates ?? null, step.rates)) kept.push(step);
  }
  return kept;
}

/** Whether both price every usage alike, however their decimals are written. */
export function sameRates(one: Rates | null, other: Rates | null): boolean {
  if (one === null || other === null) return one === other;
  return usageClasses.every((name) => sameRate(one[name], other[name]));
}

function sameRate(one: Rate | undefined, other: Rate | undefined): boolean {
  return textOf(one) === textOf(other);
}

function textOf(rate: Rate | undefined): string {
  if (rate === undefined) return '';
  const tiers = (rate.tiers ?? [])
    .toSorted((one, other) => one.aboveInputTokens - other.aboveInputTokens)
    .map((tier) => `${tier.aboveInputTokens}:${shortest(tier.usd)}`);
  return [shortest(rate.usd), ...tiers].join(',');
}

/** Without leading and trailing zeros. */
const shortest = (usd: string): string => multiplyDecimals(usd, '1');
