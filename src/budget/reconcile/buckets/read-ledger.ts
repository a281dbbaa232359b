/** Adds up the ledger's calls by the buckets of a file. */
import type { Tx } from '../../../db/connect.ts';
import { parseAmount } from '../amounts.ts';
import { listOpenCalls, listServedModels, sumCosts, sumDays } from '../ledger.ts';
import type { DaySum } from '../ledger.ts';
import { cellOfClass, modelKey } from '../shapes/models.ts';
import type { BucketShape } from '../shapes/shape.ts';
import { addTo } from './groups.ts';
import type { Groups } from './groups.ts';

const dayMs = 86_400_000;

/** How the file tells buckets apart. */
export type Buckets = Pick<BucketShape, 'provider' | 'feesByModel' | 'tiers'> & {
  readonly byModel: boolean;
};

/** Tiers of the answer that cost what the standard one costs. */
const standardTiers = new Set(['standard', 'standard_only', 'default', 'auto', 'on_demand']);

/** `days` are UTC days, both included. */
export async function readLedger(
  tx: Tx,
  buckets: Buckets,
  days: { readonly first: string; readonly last: string },
  groups: Groups,
): Promise<void> {
  const { provider, byModel, feesByModel, tiers } = buckets;
  const from = new Date(`${days.first}T00:00:00Z`);
  const to = new Date(Date.parse(`${days.last}T00:00:00Z`) + dayMs);
  const range = { provider, from, to };
  const tierOf = (tier: string | null): string =>
    !tiers || tier === null || standardTiers.has(tier) ? 'standard' : tier;
  const keyOf = (model: string): string => (byModel ? modelKey(model) : '');

  for (const { day, model, tier, calls, cost } of await sumCosts(tx, range)) {
    const group = groups.of(day, tierOf(tier), keyOf(model));
    group.names.add(model);
    group.ledger.calls += calls;
    group.ledger.cost += cost;
  }
  for (const sum of await sumDays(tx, range)) {
    const own = groups.of(sum.day, tierOf(sum.tier), keyOf(sum.model));
    const cell = sum.class === null ? undefined : cellOfClass(sum.class);
    const isApart = cell === 'fee' && byModel && !feesByModel;
    if (isApart) {
      const fees = groups.of(sum.day, 'standard', '');
      // The charge stands with its call's other items; the exact amount moves, and so does its share of the charge.
      own.ledger.cost -= sum.exact;
      fees.ledger.cost += sum.exact;
      addSum(fees.ledger, sum);
    } else addSum(own.ledger, sum);
  }
  const served = await listServedModels(tx, range);
  const earlier = { ...range, from: new Date(from.getTime() - dayMs) };
  for (const call of await listOpenCalls(tx, earlier)) {
    const key = keyOf(call.kind === 'unknown' ? answering(served, call.model) : call.model);
    for (const day of new Set([call.day, call.endDay])) {
      if (day < days.first || day > days.last) continue;
      const group = groups.of(day, tierOf(call.tier), key);
      group.names.add(call.model);
      group.open.push(call);
    }
  }
}

/** The model that answers for `asked`, where it was always the same. */
function answering(served: readonly { asked: string; served: string }[], asked: string): string {
  const own = new Set(served.filter((one) => one.asked === asked).map((one) => one.served));
  const keys = new Set([...own].map(modelKey));
  const [only] = own;
  return keys.size === 1 && only !== undefined ? only : asked;
}

function addSum(
  ledger: ReturnType<Groups['of']>['ledger'],
  sum: Pick<DaySum, 'class' | 'count' | 'usd' | 'per' | 'exact'>,
): void {
  ledger.exact += sum.exact;
  if (sum.class === null) {
    ledger.uncounted += sum.exact;
    ledger.uncountedCalls += Number(sum.count);
    return;
  }
  const cell = cellOfClass(sum.class);
  const rate = sum.usd === null ? 0n : rateOf(sum.usd, sum.per);
  if (cell === undefined) {
    ledger.extra += sum.exact;
    return;
  }
  addTo(ledger.counts, cell, sum.count);
  const rates = ledger.rates.get(cell) ?? new Set();
  ledger.rates.set(cell, rates.add(rate));
}

/** Atto-USD per unit. */
export function rateOf(usd: string, per: number): bigint {
  return parseAmount(usd, -Math.round(Math.log10(per)))?.atto ?? 0n;
}
