/**
 * What a bucket of the file has beyond the calls whose cost is known, as the bounds that its rounding leaves. Counts are
 * exact: where the file has them, they are priced at the rates that were pinned.
 */
import { billOf } from '../../bill.ts';
import type { PinnedPrice } from '../../pinned-price.ts';
import type { UsageClass } from '../../usage-classes.ts';
import { usageClasses } from '../../usage-classes.ts';
import { attoOfNano } from '../amounts.ts';
import type { Candidate } from '../assign.ts';
import type { OpenCall } from '../ledger.ts';
import type { Cell } from '../shapes/models.ts';
import { cellOfClass } from '../shapes/models.ts';
import type { Group } from './groups.ts';
import { rateOf } from './read-ledger.ts';

export interface Residual {
  /** By counts, or by amounts only. */
  readonly by: 'counts' | 'amounts';
  readonly from: bigint;
  readonly to: bigint;
  /** Half of what the amounts are rounded to, summed over the rows. */
  readonly tolerance: bigint;
  /** False where a count has no rate: of a model that the ledger has no call of. */
  readonly isPriced: boolean;
}

/** What the file rounds an amount to, in atto-USD. */
export interface Rounding {
  readonly unit: bigint;
}

const classOfCell: Readonly<Record<Exclude<Cell, 'all'>, UsageClass>> = {
  input: 'input',
  cache_read: 'cache_read',
  cache_write: 'cache_write',
  cache_write_1h: 'cache_write_1h',
  output: 'output',
  fee: 'web_search',
};

export function residualOf(group: Group, rounding: Rounding): Residual {
  const { file, ledger } = group;
  const tolerance = toleranceOf(group, rounding);
  // Each call that was settled by its cost alone was rounded up.
  const slack = attoOfNano(BigInt(ledger.uncountedCalls));
  const isCounted = file.counts.size > 0 && file.withoutCount === 0;
  if (!isCounted) {
    const left = file.amount - ledger.exact;
    return {
      by: 'amounts',
      from: left - tolerance,
      to: left + tolerance + slack,
      tolerance,
      isPriced: true,
    };
  }
  const priced = priceOfCounts(group);
  return {
    by: 'counts',
    from: priced.from - ledger.uncounted,
    to: priced.to - ledger.uncounted + slack,
    tolerance,
    isPriced: priced.isPriced,
  };
}

/** A bucket without a row is one whose amount is rounded to nothing. */
function toleranceOf({ file }: Group, { unit }: Rounding): bigint {
  return (unit * BigInt(Math.max(1, file.priced)) + 1n) / 2n + file.floatError;
}

/** Counts beyond the known ones, per cell. */
function countsLeft({ file, ledger }: Group): Map<Cell, bigint> {
  const cells = new Set([...file.counts.keys(), ...ledger.counts.keys()]);
  return new Map(
    [...cells].map((cell) => [
      cell,
      (file.counts.get(cell) ?? 0n) - (ledger.counts.get(cell) ?? 0n),
    ]),
  );
}

function priceOfCounts(group: Group): { from: bigint; to: bigint; isPriced: boolean } {
  let [from, to, isPriced] = [0n, 0n, true];
  for (const [cell, left] of countsLeft(group)) {
    if (left === 0n) continue;
    const rates = [...(group.ledger.rates.get(cell) ?? []), ...pinnedRates(group.open, cell)];
    const [first] = rates;
    if (first === undefined) {
      isPriced = false;
      continue;
    }
    const least = rates.reduce((a, b) => (a < b ? a : b), first);
    const most = rates.reduce((a, b) => (a > b ? a : b), first);
    from += left * (left > 0n ? least : most);
    to += left * (left > 0n ? most : least);
  }
  return { from, to, isPriced };
}

function pinnedRates(open: readonly OpenCall[], cell: Cell): bigint[] {
  if (cell === 'all') return [];
  return open.flatMap(({ price }) => ratesOf(price, classOfCell[cell]));
}

/** Of one unit, in each tier. */
function ratesOf(price: PinnedPrice, name: UsageClass): bigint[] {
  const item = billOf(price, { [name]: 1 }).items.find((one) => one.class === name);
  if (item === undefined || item.usd === null) return [];
  const tiers = price.rates[name]?.tiers ?? [];
  return [item.usd, ...tiers.map(({ usd }) => usd)].map((usd) => rateOf(usd, item.per));
}

/**
 * The bill of the one unknown call that has all counts that are left; undefined where they are not those of one call
 * within its hold.
 */
export function billOfRest(group: Group, call: OpenCall): bigint | undefined {
  const counts: Partial<Record<UsageClass, number>> = {};
  for (const [cell, left] of countsLeft(group)) {
    if (left < 0n || cell === 'all') return undefined;
    if (left > 0n) counts[classOfCell[cell]] = Number(left);
  }
  if (Object.keys(counts).length === 0) return 0n;
  const { costNanoUsd, uncovered } = billOf(call.price, counts);
  const cost = attoOfNano(costNanoUsd);
  return uncovered.length > 0 || cost > call.charged ? undefined : cost;
}

/** What an open call can have cost, if it was billed in this bucket; undefined if that is certainly nothing. */
export function candidateOf(call: OpenCall): Candidate | undefined {
  if (call.kind === 'settled') {
    const { exact } = call;
    return exact === 0n ? undefined : { id: call.id, low: exact, high: exact, step: exact };
  }
  const step = gridOf(call.price);
  const received = BigInt(call.receivedOutputTokens) * (ratesOf(call.price, 'output')[0] ?? 0n);
  const { id, charged } = call;
  if (charged === 0n) return undefined;
  const least = received > step ? received : step;
  const isBilled = received > 0n && call.day === call.endDay;
  return { id, low: least < charged ? least : charged, high: charged, step, isBilled };
}

/** Costs at this price are multiples of it: the greatest common divisor of all rates. */
function gridOf(price: PinnedPrice): bigint {
  const rates = usageClasses
    .filter((name) => cellOfClass(name) !== undefined && price.rates[name] !== undefined)
    .flatMap((name) => ratesOf(price, name))
    .filter((rate) => rate > 0n);
  const grid = rates.reduce(divisor, 0n);
  return grid === 0n ? 1n : grid;
}

function divisor(a: bigint, b: bigint): bigint {
  return b === 0n ? a : divisor(b, a % b);
}
