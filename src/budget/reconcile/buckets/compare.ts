/**
 * Compares one bucket: whether known calls, and some assignment of costs to open ones, explain what the provider lists,
 * within its rounding; and to which reasons the difference from the ledger belongs.
 */
import { attoOfNano, formatAtto, nanoCeil } from '../amounts.ts';
import { assign, maxSteps } from '../assign.ts';
import type { CostRange, Steps } from '../assign.ts';
import { createDrift } from '../drift.ts';
import type { Drift, DriftPart } from '../drift.ts';
import type { OpenCall } from '../ledger.ts';
import type { Group } from './groups.ts';
import { billOfRest, candidateOf, residualOf } from './residual.ts';
import type { Residual, Rounding } from './residual.ts';

/**
 * `matched`: within its rounding, every call is known. `resolved`: so is it, and each open call can have had one cost
 * only. `open`: it is explained by more than one assignment. `differs`: by none.
 */
export type BucketState = 'matched' | 'resolved' | 'open' | 'differs';

export interface BucketResult {
  readonly day: string;
  /** As the file or the ledger names them; empty for costs of no model. */
  readonly models: readonly string[];
  readonly tier: string;
  readonly state: BucketState;
  /** Null where the file has counts that the ledger has no rate for. */
  readonly fileUsd: string | null;
  /** Spent, and holds of unknown cost. */
  readonly ledgerUsd: string;
  /** Its amounts are rounded by at most so much. */
  readonly roundingUsd: string;
  readonly drift: readonly DriftPart[];
  /** The search for assignments ended before it had tried all. */
  readonly gaveUp: boolean;
}

export interface Compared {
  readonly result: BucketResult;
  readonly fileAtto: bigint;
  readonly ledgerAtto: bigint;
  /** Of each open call in this bucket; undefined where nothing explains the bucket. */
  readonly ranges: ReadonlyMap<string, CostRange> | undefined;
}

interface Explained {
  readonly ranges: ReadonlyMap<string, CostRange>;
  readonly gaveUp: boolean;
}

export function compareBucket(group: Group, rounding: Rounding, steps: Steps): Compared {
  const { ledger, file, open } = group;
  const residual = residualOf(group, rounding);
  const found = residual.isPriced ? explain(group, residual, steps) : undefined;
  const home = open.filter(({ day }) => day === group.day);
  const charged = ledger.cost + sum(home.map((call) => call.charged));
  const isCountedOnly = residual.by === 'counts' && file.priced === 0;
  // Of a file without amounts: its usage at the ledger's rates.
  const amount = isCountedOnly ? ledger.exact - ledger.extra + residual.to : file.amount;
  const drift = createDrift();
  drift.add('rounding', ledger.exact - ledger.cost);
  if (isCountedOnly) drift.add('price', -ledger.extra);
  const left = isCountedOnly ? residual.to : amount - ledger.exact;
  const isExplained = attribute({ group, residual, left, home, found }, drift);
  const ranges = isExplained ? found?.ranges : undefined;
  return {
    fileAtto: amount,
    ledgerAtto: charged,
    ranges,
    result: {
      day: group.day,
      models: [...group.names].toSorted(),
      tier: group.tier,
      state: stateOf(ranges),
      fileUsd: residual.isPriced ? formatAtto(amount) : null,
      ledgerUsd: formatAtto(charged),
      roundingUsd: formatAtto(isCountedOnly ? 0n : residual.tolerance),
      drift: drift.parts(),
      gaveUp: found?.gaveUp === true,
    },
  };
}

const sum = (amounts: readonly bigint[]): bigint => amounts.reduce((a, b) => a + b, 0n);

/** One cost to the nano-dollar, which is what the ledger charges. */
export const isOneCost = ({ low, high }: CostRange): boolean => nanoCeil(low) === nanoCeil(high);

function stateOf(ranges: ReadonlyMap<string, CostRange> | undefined): BucketState {
  if (ranges === undefined) return 'differs';
  if (ranges.size === 0) return 'matched';
  return [...ranges.values()].every(isOneCost) ? 'resolved' : 'open';
}

function explain(group: Group, residual: Residual, steps: Steps): Explained | undefined {
  const { open, ledger } = group;
  const [only] = open;
  if (
    residual.by === 'counts' &&
    open.length === 1 &&
    only?.kind === 'unknown' &&
    ledger.uncounted === 0n
  ) {
    const cost = billOfRest(group, only);
    if (cost === undefined) return undefined;
    return { ranges: new Map([[only.id, { id: only.id, low: cost, high: cost }]]), gaveUp: false };
  }
  const candidates = open.map(candidateOf).filter((candidate) => candidate !== undefined);
  const own = { left: Math.min(maxSteps.bucket, steps.left) };
  const before = own.left;
  const { selections, ranges, gaveUp } = assign(candidates, residual, own);
  steps.left -= before - own.left;
  if (selections === 0) return undefined;
  const nothing = open.map(({ id }) => [id, { id, low: 0n, high: 0n }] as const);
  return {
    ranges: new Map([...nothing, ...ranges.map((range) => [range.id, range] as const)]),
    gaveUp,
  };
}

interface Attribution {
  readonly group: Group;
  readonly residual: Residual;
  /** What the file has beyond the known calls; at its end nothing of it is left. */
  readonly left: bigint;
  readonly home: readonly OpenCall[];
  readonly found: Explained | undefined;
}

/** Whether the bucket is explained. The parts that it adds sum up to `left` without what open calls are charged. */
function attribute({ group, residual, left, home, found }: Attribution, drift: Drift): boolean {
  const { file, ledger, open } = group;
  const settled = home.filter(({ kind }) => kind === 'settled');
  const unknown = home.filter(({ kind }) => kind === 'unknown');
  drift.add('rounding', sum(settled.map(({ exact, charged }) => exact - charged)));
  const held = sum(unknown.map(({ charged }) => charged));
  // Counts tell what the calls used; what the amount differs from that is no usage.
  const counted = residual.by === 'counts' && file.priced > 0 && residual.isPriced;
  const byUsage = counted ? residual.to : left;
  if (found === undefined) {
    drift.add(reasonOf(group, residual), byUsage - sum(settled.map(({ exact }) => exact)) - held);
    drift.add('price', left - byUsage);
    return false;
  }
  const valueOf = ({ id }: OpenCall): bigint => found.ranges.get(id)?.high ?? 0n;
  const isExact = [...found.ranges.values()].every(isOneCost);
  const foreign = open.filter((call) => !home.includes(call));
  const atHome = sum(home.map(valueOf));
  if (isExact) {
    drift.add('unknown_hold', sum(unknown.map(valueOf)) - held);
    drift.add(
      'other_day',
      sum(foreign.map(valueOf)) + sum(settled.map((call) => valueOf(call) - call.exact)),
    );
  } else {
    const rest = byUsage - sum(settled.map(({ exact }) => exact)) - held;
    drift.add(unknown.length > 0 ? 'unknown_hold' : 'other_day', rest);
  }
  const explained = isExact ? atHome + sum(foreign.map(valueOf)) : byUsage;
  const over = left - explained;
  // The bill of one unknown call is rounded up as ours are.
  const tolerance = residual.tolerance + attoOfNano(BigInt(open.length + ledger.uncountedCalls));
  const isRounding = over <= tolerance && -over <= tolerance;
  drift.add(isRounding ? 'rounding' : 'price', over);
  return isRounding;
}

function reasonOf({ file, ledger, open }: Group, residual: Residual) {
  const hasFile = file.priced + file.counts.size > 0;
  if (!hasFile) return 'missing_in_file';
  if (ledger.calls === 0 && open.length === 0) return 'missing_in_ledger';
  if (residual.by === 'amounts') return 'unexplained';
  return 'usage';
}
