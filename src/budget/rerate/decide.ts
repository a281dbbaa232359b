/**
 * What a call costs at a corrected price. Only a bill that its price explains item by item is written anew; every other
 * one is left as it is, with the reason.
 */
import { billOf } from '../bill.ts';
import type { BillItem } from '../bill.ts';
import { multiplyDecimals } from '../money.ts';
import type { PinnedPrice } from '../pinned-price.ts';
import { publishedPrice } from '../prices/published.ts';
import { sameRates } from '../prices/steps.ts';
import { usageClasses } from '../usage-classes.ts';
import type { UsageClass, UsageCounts } from '../usage-classes.ts';
import type { RatedCall } from './calls.ts';

export type LeftReason =
  | 'running'
  | 'unknown'
  | 'assumed'
  | 'by_evidence'
  | 'provider_figure'
  | 'no_price'
  | 'no_rate'
  | 'service_tier'
  | 'other_model'
  | 'other_rates'
  | 'too_large';

export type Decision =
  | { readonly kind: 'same' }
  | { readonly kind: 'left'; readonly reason: LeftReason; readonly detail?: string }
  | {
      readonly kind: 'changed';
      readonly items: readonly BillItem[];
      readonly costNanoUsd: bigint;
    };

export interface Rating {
  readonly call: RatedCall;
  /** At which it was charged last. */
  readonly charged: PinnedPrice;
  /** What was in force at its time, by all that is known now. */
  readonly inForce: PinnedPrice | undefined;
  /** Factors of the rates of tokens that a service tier can have. */
  readonly factors: readonly string[];
}

const left = (reason: LeftReason, detail?: string): Decision => ({
  kind: 'left',
  reason,
  ...(detail === undefined ? {} : { detail }),
});

/** 10^9 USD: more than any amount holds. */
const tooManyNanoUsd = 10n ** 18n;

export function decide(rating: Rating): Decision {
  const { call, charged, inForce } = rating;
  if (inForce === undefined) return left('no_price');
  if (sameRates(charged.rates, inForce.rates)) return { kind: 'same' };
  const open = openReason(call);
  if (open !== undefined) return left(open);
  const counts = countsOf(call.items);
  const factors = factorsOf(rating, counts);
  const [factor] = factors;
  if (factor === undefined) return left('other_rates');
  if (factors.length > 1 && call.serviceTier !== null)
    return left('service_tier', call.serviceTier);
  const missing = call.uncovered.find((what) => !isCovered(what, inForce));
  if (missing !== undefined) {
    return left(missing.startsWith('model ') ? 'other_model' : 'service_tier', missing);
  }
  if (isOfOtherModel(rating, inForce)) return left('other_model', `model ${call.servedModel}`);
  const bill = billOf(inForce, counts, factor);
  if (bill.uncovered.length > 0) return left('no_rate', bill.uncovered.join(', '));
  const { items, costNanoUsd } = bill;
  if (costNanoUsd >= tooManyNanoUsd) return left('too_large');
  return costNanoUsd === call.chargedNanoUsd
    ? { kind: 'same' }
    : { kind: 'changed', items, costNanoUsd };
}

/** Why a call has no bill of its own usage. */
function openReason(call: RatedCall): LeftReason | undefined {
  if (call.status === 'RESERVED') return 'running';
  if (call.status === 'UNKNOWN') return 'unknown';
  if (call.isAssumed) return 'assumed';
  const classes = new Set(call.items.map((item) => item.class));
  if (classes.has('evidence') || classes.has('assumed')) return 'by_evidence';
  // OpenRouter's own figure counts where it is more, and a figure that was less is not kept.
  const isTold = classes.has('provider_charge') || /openrouter/.test(call.price.provider ?? '');
  return isTold ? 'provider_figure' : undefined;
}

const isUsage = (name: string): name is UsageClass => usageClasses.some((known) => known === name);

/** Without the fee of the request, which a price has or has not. */
function countsOf(items: readonly BillItem[]): UsageCounts {
  return Object.fromEntries(
    items
      .filter((item) => isUsage(item.class) && item.class !== 'request')
      .map((item) => [item.class, item.count]),
  );
}

/** Those with which the price gives the very items that were charged. */
function factorsOf({ call, charged, factors }: Rating, counts: UsageCounts): string[] {
  const found = textOf(call.items.filter((item) => item.class !== 'uncovered'));
  return factors.filter((factor) => textOf(billOf(charged, counts, factor).items) === found);
}

const textOf = (items: readonly BillItem[]): string =>
  JSON.stringify(
    items
      .map((item) => [
        item.class,
        item.count,
        item.usd === null ? null : multiplyDecimals(item.usd, '1'),
        item.per,
      ])
      .toSorted(([one], [other]) => String(one).localeCompare(String(other))),
  );

/** What had no rate: a class of usage has one or is found missing; an operator's price is that of every model that answers. */
const isCovered = (what: string, inForce: PinnedPrice): boolean =>
  isUsage(what) || (what.startsWith('model ') && inForce.source === 'operator');

/** A published price in place of an operator's is only that of its model. */
function isOfOtherModel({ call, charged }: Rating, inForce: PinnedPrice): boolean {
  const { servedModel: served, price } = call;
  if (served === null || served === call.model || inForce.source !== 'genai-prices') return false;
  if (charged.source === inForce.source) return false;
  const { provider } = price;
  const published = publishedPrice({
    model: served,
    now: call.at,
    ...(provider === undefined ? {} : { provider }),
  });
  return published?.model !== inForce.model;
}
