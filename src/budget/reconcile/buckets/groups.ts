/** What the file and the ledger have of one UTC day, model and service tier: the unit that is compared. */
import type { OpenCall } from '../ledger.ts';
import type { Cell } from '../shapes/models.ts';

export interface FileSide {
  /** Rows with an amount. */
  priced: number;
  amount: bigint;
  /** What doubles may have changed. */
  floatError: bigint;
  readonly counts: Map<Cell, bigint>;
  /** Rows without an amount, and rows with an amount but no count. */
  withoutAmount: number;
  withoutCount: number;
}

export interface LedgerSide {
  calls: number;
  /** As charged: rounded up per call. */
  cost: bigint;
  /** The sum of the items, not rounded. */
  exact: bigint;
  readonly counts: Map<Cell, bigint>;
  /** Atto-USD per unit. */
  readonly rates: Map<Cell, Set<bigint>>;
  /** Part of `exact` that no count explains: of calls that have usage, and of those that were settled without. */
  extra: bigint;
  uncounted: bigint;
  uncountedCalls: number;
}

export interface Group {
  readonly day: string;
  readonly tier: string;
  /** `modelKey` of its names; empty where the file does not tell models apart, and for fees of no model. */
  readonly key: string;
  readonly names: Set<string>;
  readonly file: FileSide;
  readonly ledger: LedgerSide;
  /** Calls that may stand in this bucket. */
  readonly open: OpenCall[];
}

export interface Groups {
  readonly of: (day: string, tier: string, key: string) => Group;
  /** By day and model. */
  readonly all: () => readonly Group[];
}

export function createGroups(): Groups {
  const groups = new Map<string, Group>();
  return {
    of: (day, tier, key) => {
      const name = `${day} ${key} ${tier}`;
      const group = groups.get(name) ?? emptyGroup(day, tier, key);
      groups.set(name, group);
      return group;
    },
    all: () =>
      [...groups.entries()]
        .toSorted(([one], [other]) => (one < other ? -1 : 1))
        .map(([, group]) => group),
  };
}

function emptyGroup(day: string, tier: string, key: string): Group {
  return {
    day,
    tier,
    key,
    names: new Set(),
    file: {
      priced: 0,
      amount: 0n,
      floatError: 0n,
      counts: new Map(),
      withoutAmount: 0,
      withoutCount: 0,
    },
    ledger: {
      calls: 0,
      cost: 0n,
      exact: 0n,
      counts: new Map(),
      rates: new Map(),
      extra: 0n,
      uncounted: 0n,
      uncountedCalls: 0,
    },
    open: [],
  };
}

export function addTo(counts: Map<Cell, bigint>, cell: Cell, count: bigint): void {
  counts.set(cell, (counts.get(cell) ?? 0n) + count);
}
