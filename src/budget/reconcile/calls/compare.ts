/** Compares what a log has of one call with what the ledger has, and tells the parts of the difference. */
import { billOf } from '../../bill.ts';
import { attoOfNano, floatError, nanoCeil, parseAmount } from '../amounts.ts';
import type { Reason } from '../drift.ts';
import { rateOf } from '../buckets/read-ledger.ts';
import { cellOfClass } from '../shapes/models.ts';
import type { CallLine } from '../shapes/shape.ts';
import type { LedgerCall } from './ledger.ts';

export interface CallPart {
  readonly reason: Reason;
  readonly atto: bigint;
}

export interface ComparedCall {
  /** What the log has more than the ledger. */
  readonly parts: readonly CallPart[];
  /** What the ledger has charged: a cost, or a hold of unknown cost. */
  readonly charged: bigint;
  /** The cost that the log shows, where the ledger does not know it. */
  readonly costNanoUsd: bigint | undefined;
}

/** `lines` are all of this call, at least one; `unit` is what the log rounds amounts to, in atto-USD. */
export function compareCall(
  call: LedgerCall,
  lines: readonly CallLine[],
  unit: bigint,
): ComparedCall {
  const total = lines.reduce((sum, { amount }) => sum + amount.atto, 0n);
  // A double that was the cost must not be rounded up by a whole nano-dollar.
  const costNanoUsd = nanoCeil(total - floatError(total));
  const { status } = call;
  if (status === 'UNKNOWN' || call.isAssumed) {
    const charged = status === 'UNKNOWN' ? call.hold : call.cost;
    return { charged, costNanoUsd, parts: [{ reason: 'unknown_hold', atto: total - charged }] };
  }
  if (status === 'RELEASED') {
    const reason = 'released_but_billed';
    const billed = total > 0n;
    return {
      charged: 0n,
      costNanoUsd: billed ? costNanoUsd : undefined,
      parts: [{ reason, atto: total }],
    };
  }
  if (status === 'RESERVED') {
    return { charged: 0n, costNanoUsd: undefined, parts: [{ reason: 'in_flight', atto: total }] };
  }
  return { charged: call.cost, costNanoUsd: undefined, parts: settledParts(call, lines, unit) };
}

function settledParts(call: LedgerCall, lines: readonly CallLine[], unit: bigint): CallPart[] {
  const total = lines.reduce((sum, { amount }) => sum + amount.atto, 0n);
  const isOurs = (atto: bigint): boolean => isRounding(atto, call, unit);
  if (isOurs(total)) return [{ reason: 'rounding', atto: total - call.cost }];
  const own = lines.find(({ amount }) => isOurs(amount.atto)) ?? lines[0];
  if (own === undefined) return [];
  const again = total - own.amount.atto;
  const left = own.amount.atto - call.cost;
  const parts: CallPart[] = again === 0n ? [] : [{ reason: 'billed_again', atto: again }];
  if (isOurs(own.amount.atto)) return [...parts, { reason: 'rounding', atto: left }];
  const rounding = call.exact - call.cost;
  const usage = usageDifference(call, own);
  const rest = left - rounding - (usage ?? 0n);
  return [
    ...parts,
    { reason: 'rounding', atto: rounding },
    ...(usage === undefined ? [] : [{ reason: 'usage', atto: usage } as const]),
    { reason: usage === undefined ? 'unexplained' : 'price', atto: rest },
  ];
}

/** The same cost as ours before or after it was rounded up, or as the log rounds it. */
function isRounding(atto: bigint, { cost, exact }: LedgerCall, unit: bigint): boolean {
  if (attoOfNano(nanoCeil(atto - floatError(atto))) === cost) return true;
  const difference = atto - exact;
  const tolerance = unit + floatError(atto);
  return difference < tolerance && -difference < tolerance;
}

/**
 * What the log's usage costs more than ours, at the rates that were charged; undefined where one of them has no usage.
 * A log without cached tokens is read as if as many as ours were cached.
 */
function usageDifference(call: LedgerCall, line: CallLine): bigint | undefined {
  const { inputTokens, outputTokens } = line;
  if (inputTokens === null || outputTokens === null) return undefined;
  const ours = new Map<string, bigint>();
  const rates = new Map<string, bigint>();
  for (const item of call.items) {
    const cell = cellOfClass(item.class);
    if (cell === undefined || cell === 'fee') continue;
    ours.set(cell, (ours.get(cell) ?? 0n) + BigInt(item.count));
    const rate = item.usd === null ? 0n : rateOf(item.usd, item.per);
    rates.set(cell, larger(rate, rates.get(cell) ?? 0n));
  }
  if (ours.size === 0) return undefined;
  const written = (ours.get('cache_write') ?? 0n) + (ours.get('cache_write_1h') ?? 0n);
  const cached = line.cachedTokens ?? smaller(ours.get('cache_read') ?? 0n, inputTokens);
  const theirs = new Map([
    ['input', larger(0n, inputTokens - cached - written)],
    ['cache_read', cached],
    ['output', outputTokens],
  ]);
  let difference = 0n;
  for (const [cell, count] of theirs) {
    const more = count - (ours.get(cell) ?? 0n);
    if (more !== 0n) difference += more * (rates.get(cell) ?? pinnedRate(call, cell));
  }
  return difference;
}

function pinnedRate({ price }: LedgerCall, cell: string): bigint {
  const name = cell === 'cache_read' || cell === 'output' ? cell : 'input';
  const item = billOf(price, { [name]: 1 }).items.find((one) => one.class === name);
  return item === undefined || item.usd === null ? 0n : (parseAmount(item.usd, -6)?.atto ?? 0n);
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);
