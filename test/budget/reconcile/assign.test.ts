/** The search for costs that add up to a bucket, against all assignments tried one by one. */
import { describe, expect, it } from 'vitest';
import { assign } from '../../../src/budget/reconcile/assign.ts';
import type { Candidate } from '../../../src/budget/reconcile/assign.ts';

/** Mulberry32: the same numbers in every run. */
function numbersOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const candidate = (id: string, low: number, high: number, step = 1): Candidate => ({
  id,
  low: BigInt(low),
  high: BigInt(high),
  step: BigInt(step),
});

const enough = () => ({ left: 100_000 });

function valuesOf({ low, high, step }: Candidate): bigint[] {
  const values = [0n];
  for (let value = low; value <= high; value += 1n) if (value % step === 0n) values.push(value);
  return values;
}

/** All assignments of values whose sum is within the bounds. */
function allAssignments(
  candidates: readonly Candidate[],
  from: bigint,
  to: bigint,
): readonly (readonly bigint[])[] {
  let partial: bigint[][] = [[]];
  for (const one of candidates) {
    partial = partial.flatMap((values) => valuesOf(one).map((value) => [...values, value]));
  }
  return partial.filter((values) => {
    const sum = values.reduce((a, b) => a + b, 0n);
    return sum >= from && sum <= to;
  });
}

describe('assign', () => {
  it('one call costs what is left, within the rounding, and nothing where nothing is left', () => {
    const call = candidate('a', 150, 90_000, 150);
    expect(assign([call], { from: 2_000n, to: 2_200n }, enough())).toEqual({
      selections: 1,
      ranges: [{ id: 'a', low: 2_100n, high: 2_100n }],
      gaveUp: false,
    });
    expect(assign([call], { from: -100n, to: 100n }, enough()).ranges).toEqual([
      { id: 'a', low: 0n, high: 0n },
    ]);
    // A cost of 150 may hide within the rounding.
    expect(assign([call], { from: -100n, to: 200n }, enough())).toMatchObject({
      selections: 2,
      ranges: [{ low: 0n, high: 150n }],
    });
  });

  it('fixed costs are found where one selection of them adds up', () => {
    const fixed = [3, 5, 9, 17].map((cost) => candidate(`c${cost}`, cost, cost, cost));
    const found = assign(fixed, { from: 22n, to: 22n }, enough());
    expect([found.selections, found.ranges.map(({ high }) => high)]).toEqual([
      1,
      [0n, 5n, 0n, 17n],
    ]);
    expect(assign(fixed, { from: 21n, to: 21n }, enough())).toMatchObject({ selections: 0 });
    const twice = [...fixed, candidate('again', 5, 5, 5)];
    expect(assign(twice, { from: 14n, to: 14n }, enough())).toMatchObject({
      selections: 2,
      ranges: [
        { high: 0n },
        { low: 0n, high: 5n },
        { low: 9n, high: 9n },
        { high: 0n },
        { low: 0n, high: 5n },
      ],
    });
  });

  it('says that nothing explains the bucket', () => {
    const none = { selections: 0, ranges: [], gaveUp: false };
    expect(assign([candidate('a', 1, 10)], { from: 11n, to: 12n }, enough())).toEqual(none);
    expect(assign([], { from: 1n, to: 2n }, enough())).toEqual(none);
    expect(assign([], { from: -1n, to: 1n }, enough())).toMatchObject({ selections: 1 });
  });

  it('contains every possible assignment, and is exact only where there is one', () => {
    const next = numbersOf(20_261_130);
    const seen = { one: 0, none: 0, many: 0 };
    for (let round = 0; round < 400; round += 1) {
      const candidates = Array.from({ length: 1 + next(4) }, (_, place) => {
        const step = 1 + next(4);
        const low = step * (1 + next(4));
        return candidate(`c${place}`, low, low + next(9), step);
      });
      const from = BigInt(next(40) - 8);
      const to = from + BigInt(next(4));
      const truth = allAssignments(candidates, from, to);
      const { selections, ranges } = assign(candidates, { from, to }, enough());
      const outside = truth.filter((values) =>
        values.some(
          (value, place) =>
            value < (ranges[place]?.low ?? 1n) || value > (ranges[place]?.high ?? -1n),
        ),
      );
      const isOne = selections > 0 && ranges.every(({ low, high }) => low === high);
      const kind = selections === 0 ? 'none' : isOne ? 'one' : 'many';
      seen[kind] += 1;
      const most = { none: 0, one: 1, many: truth.length }[kind];
      expect({ candidates, from, to, outside, tooMany: truth.length > most }).toMatchObject({
        outside: [],
        tooMany: false,
      });
    }
    expect(Math.min(seen.one, seen.none, seen.many)).toBeGreaterThan(20);
  });

  it('gives up within its steps, with ranges that contain what is possible', () => {
    const small = Array.from({ length: 59 }, (_, place) => candidate(`c${place}`, 1, 100));
    const candidates = [candidate('large', 1, 9_000), ...small];
    const steps = { left: 5_000 };
    const found = assign(candidates, { from: 8_000n, to: 8_000n }, steps);
    expect([found.selections, found.gaveUp]).toEqual([2, true]);
    // The last selection may be looked at to its end.
    expect(steps.left).toBeGreaterThanOrEqual(-candidates.length);
    expect(found.ranges.slice(0, 2)).toEqual([
      { id: 'large', low: 2_100n, high: 8_000n },
      { id: 'c0', low: 0n, high: 100n },
    ]);
    const few = assign(candidates, { from: 0n, to: 30n }, { left: 5_000 });
    expect([few.gaveUp, few.ranges[0]]).toEqual([true, { id: 'large', low: 0n, high: 30n }]);
    // Nothing is left for it to try: so many candidates of the whole file.
    expect(assign(candidates, { from: 0n, to: 0n }, { left: 0 }).gaveUp).toBe(true);
  });
});
