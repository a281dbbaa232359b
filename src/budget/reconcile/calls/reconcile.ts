/** Matches every line of a gateway's log with its call, and every call of that time with its line. */
import type { Tx } from '../../../db/connect.ts';
import { formatAtto, unitOf } from '../amounts.ts';
import { createDrift } from '../drift.ts';
import type { Reason } from '../drift.ts';
import { maxListed } from '../result.ts';
import type { CallDifference, Reconciliation, Resolution, UnknownCost } from '../result.ts';
import type { FileRow } from '../shapes/row.ts';
import type { CallLine, CallShape } from '../shapes/shape.ts';
import { compareCall } from './compare.ts';
import { expectedCalls, findCalls } from './ledger.ts';
import type { LedgerCall } from './ledger.ts';
import { readLog } from './read-log.ts';
import type { ReadLog } from './read-log.ts';

export interface LogOptions {
  readonly provider: string;
  /** Calls that were sent from here on, and before `to`, should be in the log. Default: its first and last time. */
  readonly from?: Date | undefined;
  readonly to?: Date | undefined;
  /** The log has every call of its range that was billed: one that it lacks was not. */
  readonly isComplete: boolean;
  /** What the log's costs are rounded to, in atto-USD. Default: their last decimal, and a micro-dollar at most. */
  readonly unit?: bigint | undefined;
  readonly evidence: () => string;
}

const batch = 1_000;
const leastDecimals = 6;

/** What is found, line by line and call by call. */
interface Findings {
  readonly drift: ReturnType<typeof createDrift>;
  readonly differences: CallDifference[];
  readonly unknown: UnknownCost[];
  readonly resolutions: Resolution[];
  fileAtto: bigint;
  ledgerAtto: bigint;
  matched: number;
  /** Lines without a call, and calls without a line. */
  missing: number;
  otherProviders: { lines: number; atto: bigint };
}

/** Throws what `readLog` throws. */
export async function reconcileCalls(
  tx: Tx,
  rows: AsyncIterable<FileRow>,
  shape: CallShape,
  options: LogOptions,
): Promise<Reconciliation> {
  const log = await readLog(tx, options.provider, rows, shape);
  const found: Findings = {
    drift: createDrift(),
    differences: [],
    unknown: [],
    resolutions: [],
    fileAtto: 0n,
    ledgerAtto: 0n,
    matched: 0,
    missing: 0,
    otherProviders: { lines: 0, atto: 0n },
  };
  for (const line of log.foreign) missingInLedger(found, line);
  const unit = options.unit ?? unitOf(Math.max(log.decimals, leastDecimals));
  await matchLines(tx, log, { ...options, unit }, found);
  const range = rangeOf(log, options);
  if (range !== undefined) await findMissing(tx, log, { ...options, ...range }, found);
  return {
    format: shape.name,
    rows: log.rows,
    matched: found.matched,
    of: found.matched + found.missing,
    from: range?.from.toISOString() ?? null,
    to: range?.to.toISOString() ?? null,
    fileUsd: formatAtto(found.fileAtto),
    ledgerUsd: formatAtto(found.ledgerAtto),
    driftUsd: formatAtto(found.fileAtto - found.ledgerAtto),
    drift: found.drift.parts(),
    buckets: [],
    differences: found.differences,
    unknown: found.unknown,
    resolutions: found.resolutions,
    notes: notesOf(log, found, range !== undefined),
  };
}

async function matchLines(
  tx: Tx,
  { calls }: ReadLog,
  options: LogOptions & { readonly unit: bigint },
  found: Findings,
): Promise<void> {
  const ids = [...calls.keys()];
  for (let at = 0; at < ids.length; at += batch) {
    const part = ids.slice(at, at + batch);
    const known = new Map((await findCalls(tx, part)).map((call) => [call.id, call]));
    for (const id of part) {
      const lines = calls.get(id) ?? [];
      const call = known.get(id);
      if (call === undefined) for (const line of lines) missingInLedger(found, line);
      else if (call.provider === options.provider) matchCall(found, call, lines, options);
      else {
        found.otherProviders.lines += lines.length;
        found.otherProviders.atto += sumOf(lines);
      }
    }
  }
}

const sumOf = (lines: readonly CallLine[]): bigint =>
  lines.reduce((sum, { amount }) => sum + amount.atto, 0n);

function missingInLedger(found: Findings, line: CallLine): void {
  const { atto } = line.amount;
  found.missing += 1;
  found.fileAtto += atto;
  found.drift.add('missing_in_ledger', atto);
  list(found, { line, id: null, reason: 'missing_in_ledger', file: atto, ledger: 0n });
}

/** Reasons that need nobody's look. */
const quiet: ReadonlySet<Reason> = new Set<Reason>(['rounding', 'unknown_hold']);

function matchCall(
  found: Findings,
  call: LedgerCall,
  lines: readonly CallLine[],
  { evidence, unit }: LogOptions & { readonly unit: bigint },
): void {
  const { parts, charged, costNanoUsd } = compareCall(call, lines, unit);
  const file = sumOf(lines);
  found.matched += 1;
  found.fileAtto += file;
  found.ledgerAtto += charged;
  const [line] = lines;
  for (const { reason, atto } of parts) {
    found.drift.add(reason, atto);
    if (atto === 0n || quiet.has(reason)) continue;
    list(found, { line, id: call.id, reason, file, ledger: charged });
  }
  if (costNanoUsd === undefined) return;
  const [reservationId, { tenantId }] = [call.id, call];
  const [chargedUsd, cost] = [formatAtto(charged), formatAtto(file)];
  found.unknown.push({ reservationId, tenantId, chargedUsd, lowUsd: cost, highUsd: cost });
  const where = `line ${lines
    .map((one) => one.line)
    .slice(0, 5)
    .join(' ')}`;
  found.resolutions.push({
    reservationId,
    tenantId,
    chargedUsd,
    costNanoUsd,
    evidence: `${evidence()} ${where}`,
  });
}

interface Listed {
  readonly line: CallLine | undefined;
  readonly id: string | null;
  readonly reason: Reason;
  readonly file: bigint;
  readonly ledger: bigint;
}

function list(found: Findings, { line, id, reason, file, ledger }: Listed): void {
  if (found.differences.length >= maxListed) return;
  found.differences.push({
    line: line?.line ?? null,
    reservationId: id,
    requestId: line?.requestId ?? null,
    reason,
    fileUsd: formatAtto(file),
    ledgerUsd: formatAtto(ledger),
  });
}

function rangeOf(
  { times }: ReadLog,
  { from, to }: LogOptions,
): { from: Date; to: Date } | undefined {
  const first = from ?? times?.first;
  const last = to ?? times?.last;
  return first === undefined || last === undefined ? undefined : { from: first, to: last };
}

async function findMissing(
  tx: Tx,
  { calls }: ReadLog,
  options: LogOptions & { readonly from: Date; readonly to: Date },
  found: Findings,
): Promise<void> {
  for await (const batchOfCalls of expectedCalls(tx, options)) {
    for (const { id, tenantId, charged, isUnknown, isWithin } of batchOfCalls) {
      if (calls.has(id) || charged === 0n) continue;
      found.missing += 1;
      found.ledgerAtto += charged;
      found.drift.add(isUnknown ? 'unknown_hold' : 'missing_in_file', -charged);
      if (!isUnknown) {
        list(found, { line: undefined, id, reason: 'missing_in_file', file: 0n, ledger: charged });
        continue;
      }
      const chargedUsd = formatAtto(charged);
      const isDecided = options.isComplete && isWithin;
      const open = options.isComplete
        ? 'it can have been billed after the end of the log'
        : 'the log does not name it; with --complete it was not billed';
      found.unknown.push({
        reservationId: id,
        tenantId,
        chargedUsd,
        lowUsd: '0',
        highUsd: isDecided ? '0' : chargedUsd,
        open: isDecided ? undefined : open,
      });
      if (!isDecided) continue;
      const evidence = `${options.evidence()} not in it`;
      found.resolutions.push({
        reservationId: id,
        tenantId,
        chargedUsd,
        costNanoUsd: 0n,
        evidence,
      });
    }
  }
}

function notesOf(log: ReadLog, found: Findings, hasRange: boolean): string[] {
  const notes: string[] = [];
  if (log.repeated > 0) notes.push(`${log.repeated} lines repeat a request id and count once`);
  const { lines, atto } = found.otherProviders;
  if (lines > 0) notes.push(`left out: ${lines} lines of other providers, ${formatAtto(atto)} USD`);
  if (!hasRange) {
    notes.push(
      'the log has no times: name its range by --from and --to to find calls that it lacks',
    );
  }
  return notes;
}
