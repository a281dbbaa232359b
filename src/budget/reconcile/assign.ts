/**
 * Which costs of calls add up to what a provider's bucket has beyond the calls that are known. Each candidate costs
 * nothing (it was not billed, or stands in the next bucket) or an amount of its own range. The search tries all
 * selections of billed candidates, within a bounded number of steps; where it gives up, ranges are only wider.
 */

/** All amounts in one unit. */
export interface Candidate {
  readonly id: string;
  /** Least amount if it is billed; more than zero. */
  readonly low: bigint;
  readonly high: bigint;
  /** Its amount is a multiple of this. */
  readonly step: bigint;
  /** It was billed in this bucket: a part of its answer arrived. */
  readonly isBilled?: boolean;
}

/** What a candidate can have cost. */
export interface CostRange {
  readonly id: string;
  readonly low: bigint;
  readonly high: bigint;
}

export interface Assignment {
  /** Selections that explain the bucket; 2 stands for more. */
  readonly selections: 0 | 1 | 2;
  /** Of each candidate, in their order; empty where no selection explains the bucket. */
  readonly ranges: readonly CostRange[];
  /** The search ended before it had tried everything: `selections` is 2 and the ranges contain what is possible. */
  readonly gaveUp: boolean;
}

export interface Steps {
  /** Counted down by the search, which ends at zero. */
  left: number;
}

/** A step is a candidate that is looked at. All of a file's take about a second. */
export const maxSteps = { bucket: 200_000, file: 2_000_000 };

interface Hull {
  low: bigint;
  high: bigint;
}

/** `from` and `to` bound what the billed candidates add up to. */
export function assign(
  candidates: readonly Candidate[],
  { from, to }: { readonly from: bigint; readonly to: bigint },
  steps: Steps,
): Assignment {
  const hulls: (Hull | undefined)[] = candidates.map(() => undefined);
  const restHigh = suffixSums(candidates.map(({ high }) => high));
  let selections: 0 | 1 | 2 = 0;
  let gaveUp = false;

  const take = (billed: readonly number[], sums: { low: bigint; high: bigint }): void => {
    steps.left -= candidates.length;
    const ranges = rangesOf(candidates, billed, sums, { from, to });
    if (ranges === undefined) return;
    selections = selections === 0 ? 1 : 2;
    candidates.forEach((_, place) => {
      const { low, high } = ranges.get(place) ?? { low: 0n, high: 0n };
      const hull = hulls[place];
      hulls[place] =
        hull === undefined
          ? { low, high }
          : { low: low < hull.low ? low : hull.low, high: high > hull.high ? high : hull.high };
    });
  };

  const search = (place: number, billed: number[], low: bigint, high: bigint): void => {
    if (steps.left <= 0) {
      gaveUp = true;
      return;
    }
    steps.left -= 1;
    if (low > to || high + (restHigh[place] ?? 0n) < from) return;
    const candidate = candidates[place];
    if (candidate === undefined) {
      take(billed, { low, high });
      return;
    }
    billed.push(place);
    search(place + 1, billed, low + candidate.low, high + candidate.high);
    billed.pop();
    if (candidate.isBilled !== true) search(place + 1, billed, low, high);
  };

  search(0, [], 0n, 0n);
  if (gaveUp) return { selections: 2, ranges: widestRanges(candidates, { from, to }), gaveUp };
  if (selections === 0) return { selections, ranges: [], gaveUp };
  const ranges = candidates.map(({ id }, place) => ({
    id,
    low: hulls[place]?.low ?? 0n,
    high: hulls[place]?.high ?? 0n,
  }));
  return { selections, ranges, gaveUp };
}

/** What each billed candidate can cost in this selection; undefined where no amounts add up. */
function rangesOf(
  candidates: readonly Candidate[],
  billed: readonly number[],
  sums: { readonly low: bigint; readonly high: bigint },
  { from, to }: { readonly from: bigint; readonly to: bigint },
): Map<number, Hull> | undefined {
  if (sums.low > to || sums.high < from) return undefined;
  const ranges = new Map<number, Hull>();
  for (const place of billed) {
    const candidate = candidates[place];
    if (candidate === undefined) continue;
    const { low, high, step } = candidate;
    const least = larger(low, from - (sums.high - high));
    const most = smaller(high, to - (sums.low - low));
    const range = { low: ceilTo(least, step), high: floorTo(most, step) };
    if (range.low > range.high) return undefined;
    ranges.set(place, range);
  }
  return ranges;
}

/** Contains every possible cost, whatever the selection. */
function widestRanges(
  candidates: readonly Candidate[],
  { from, to }: { readonly from: bigint; readonly to: bigint },
): CostRange[] {
  const all = candidates.reduce((sum, { high }) => sum + high, 0n);
  return candidates.map(({ id, isBilled, high, ...one }) => {
    const low = larger(isBilled === true ? one.low : 0n, from - (all - high));
    return { id, low, high: larger(low, smaller(high, to)) };
  });
}

function suffixSums(amounts: readonly bigint[]): bigint[] {
  const sums = [0n];
  for (const amount of amounts.toReversed()) sums.unshift((sums[0] ?? 0n) + amount);
  return sums;
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const floorTo = (amount: bigint, step: bigint): bigint => (amount / step) * step;
const ceilTo = (amount: bigint, step: bigint): bigint => ((amount + step - 1n) / step) * step;
