/**
 * What one call is charged: the reported usage at the pinned price, corrected for the model and the service tier that
 * answered. What no rate covers is named, and charges at least the hold.
 */
import { billOf } from '../../budget/bill.ts';
import type { BillItem } from '../../budget/bill.ts';
import { costNanoUsd, formatUsd } from '../../budget/money.ts';
import type { PinnedPrice } from '../../budget/pinned-price.ts';
import { publishedPrice } from '../../budget/prices/published.ts';
import type { ProviderKind } from '../protocol.ts';
import type { ReportedUsage } from './reported.ts';
import { highestFactors, tierFactors } from './tier-factors.ts';

export interface ChargeRequest {
  readonly price: PinnedPrice;
  readonly holdNanoUsd: bigint;
  /** The model that was requested. */
  readonly model: string;
  readonly provider: ProviderKind;
  readonly baseUrl: string;
  readonly usage: ReportedUsage;
}

export interface Charge {
  readonly items: readonly BillItem[];
  readonly costNanoUsd: bigint;
  readonly uncovered: readonly string[];
}

export function chargeOf(request: ChargeRequest): Charge {
  const { usage, holdNanoUsd } = request;
  const served = servedPrice(request);
  const tier = tierFactor(request);
  const bill = billOf(served.price, usage.counts, tier.factor);
  const uncovered = [...served.uncovered, ...tier.uncovered, ...bill.uncovered];
  const charged = chargedNanoUsd(request);
  if (charged !== undefined) {
    return raisedTo(charged, 'provider_charge', { ...bill, uncovered: [] });
  }
  return uncovered.length === 0 ? bill : raisedTo(holdNanoUsd, 'uncovered', { ...bill, uncovered });
}

/** With an item for what is missing to `costNanoUsd`, where the bill is less. */
function raisedTo(leastNanoUsd: bigint, reason: string, charge: Charge): Charge {
  const missing = leastNanoUsd - charge.costNanoUsd;
  if (missing <= 0n) return charge;
  const item = { class: reason, count: 1, usd: formatUsd(missing), per: 1 } as const;
  // The bill was rounded up before, so its exact sum may be less than its cost by a fraction of a nano-dollar.
  const items = [...charge.items, item];
  return { ...charge, items, costNanoUsd: leastNanoUsd };
}

/** OpenRouter's own figure includes its fees. */
function chargedNanoUsd({ usage, baseUrl }: ChargeRequest): bigint | undefined {
  const reported = usage.chargedUsd;
  if (reported === undefined || !/(^|\.)openrouter\.ai$/.test(new URL(baseUrl).host)) {
    return undefined;
  }
  return costNanoUsd([{ count: 1, usd: reported, per: 1 }]);
}

/** An operator's price applies to whatever answers; a published one only to its model. */
function servedPrice(request: ChargeRequest): { price: PinnedPrice; uncovered: string[] } {
  const { price, model, baseUrl, usage } = request;
  const { model: served } = usage;
  if (price.source !== 'genai-prices' || served === undefined || served === model) {
    return { price, uncovered: [] };
  }
  const published = publishedPrice({ model: served, baseUrl });
  if (published !== undefined) {
    return { price: published.model === price.model ? price : published, uncovered: [] };
  }
  return isVariantOf(served, model)
    ? { price, uncovered: [] }
    : { price, uncovered: [`model ${served.slice(0, 200)}`] };
}

/** Servers add or leave out a path, a revision or a quantisation: `accounts/x/models/llama-v3` for `llama-v3`. */
function isVariantOf(served: string, asked: string): boolean {
  const [one, other] = [served, asked].map((name) => name.toLowerCase().replace(/^.*\//, ''));
  return (
    one !== undefined && other !== undefined && (one.startsWith(other) || other.startsWith(one))
  );
}

/** Of tiers with a factor for every model, and of those for which the highest that is published counts. */
const fixedFactors: ReadonlyMap<string, string> = new Map(Object.entries(tierFactors));
const uncertainFactors: ReadonlyMap<string, string> = new Map(Object.entries(highestFactors));

function tierFactor({ usage, provider, baseUrl }: ChargeRequest): {
  factor: string;
  uncovered: string[];
} {
  const { tier } = usage;
  if (tier === undefined) return { factor: '1', uncovered: [] };
  const compatible =
    provider === 'openai' && !/openai\.(com|azure\.com)$/.test(new URL(baseUrl).host);
  const factor = compatible ? undefined : fixedFactors.get(tier);
  if (factor !== undefined) return { factor, uncovered: [] };
  // A compatible server's flex tier costs the standard rate or less.
  if (tier === 'flex' || tier === 'batch') return { factor: '1', uncovered: [] };
  // Anthropic's priority tier was paid for before and has no rate.
  const unknown = compatible || (provider === 'anthropic' && tier === 'priority');
  return {
    factor: unknown ? '1' : (uncertainFactors.get(tier) ?? '1'),
    uncovered: [`service tier ${tier}`],
  };
}
