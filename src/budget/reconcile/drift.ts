/** Why a provider's figures and the ledger differ. The amounts of all reasons add up to the whole drift, exactly. */
import { formatAtto } from './amounts.ts';

export const reasons = {
  rounding: 'amounts are rounded',
  unknown_hold: 'a hold stays charged because the cost of its call is unknown',
  price: 'the provider charged another price for the same usage',
  usage: 'the provider counted another usage',
  unexplained: 'price or usage: the file does not tell which',
  missing_in_ledger: 'the ledger has no such call',
  missing_in_file: 'the file has no such call',
  billed_again: 'one call was billed more than once',
  released_but_billed: 'the hold was released, and the call was billed',
  in_flight: 'the call has not ended here',
  other_day: 'a call that ran over midnight stands in the bucket of the other day',
} as const;

export type Reason = keyof typeof reasons;

export interface DriftPart {
  readonly reason: Reason;
  /** Buckets or calls. */
  readonly count: number;
  /** What the provider's figure is more than the ledger's. */
  readonly usd: string;
}

export interface Drift {
  readonly add: (reason: Reason, atto: bigint) => void;
  readonly of: (reason: Reason) => bigint;
  /** In the order of `reasons`, without those that never occurred. */
  readonly parts: () => DriftPart[];
}

const isReason = (name: string): name is Reason => Object.hasOwn(reasons, name);

/** Adds up. A part of zero does not count. */
export function createDrift(): Drift {
  const sums = new Map<Reason, { count: number; atto: bigint }>();
  return {
    add: (reason, atto) => {
      if (atto === 0n) return;
      const { count, atto: before } = sums.get(reason) ?? { count: 0, atto: 0n };
      sums.set(reason, { count: count + 1, atto: before + atto });
    },
    of: (reason) => sums.get(reason)?.atto ?? 0n,
    parts: () =>
      Object.keys(reasons)
        .filter(isReason)
        .flatMap((reason) => {
          const sum = sums.get(reason);
          return sum === undefined ? [] : [{ reason, count: sum.count, usd: formatAtto(sum.atto) }];
        }),
  };
}
