/** Compares a file of daily buckets with the ledger, and decides what it can of calls whose cost is unknown. */
import type { Tx } from '../../../db/connect.ts';
import { PurserError } from '../../../errors.ts';
import { formatAtto, nanoCeil, parseAmount, unitOf } from '../amounts.ts';
import { maxSteps } from '../assign.ts';
import type { CostRange } from '../assign.ts';
import { createDrift } from '../drift.ts';
import type { OpenCall } from '../ledger.ts';
import type { Reconciliation, Resolution, UnknownCost } from '../result.ts';
import type { FileRow } from '../shapes/row.ts';
import type { BucketShape } from '../shapes/shape.ts';
import { compareBucket, isOneCost } from './compare.ts';
import type { Compared } from './compare.ts';
import { createGroups } from './groups.ts';
import type { Group } from './groups.ts';
import { readBuckets } from './read-file.ts';
import type { ReadBuckets, RowFilter } from './read-file.ts';
import { readLedger } from './read-ledger.ts';

export interface BucketOptions extends RowFilter {
  /** What the file's amounts are rounded to, in atto-USD. Default: their last decimal, and a cent at most. */
  readonly unit?: bigint | undefined;
  /** Buckets that ended later are not final: providers add late calls. */
  readonly finalBefore: Date;
  /** Begins the evidence of a resolution. */
  readonly evidence: () => string;
}

const dayMs = 86_400_000;
const leastDecimals = 2;

/** Throws `file_empty` and what the shape throws. */
export async function reconcileBuckets(
  tx: Tx,
  rows: AsyncIterable<FileRow>,
  shape: BucketShape,
  options: BucketOptions,
): Promise<Reconciliation> {
  const groups = createGroups();
  const read = await readBuckets(rows, shape, options, groups);
  const { days } = read;
  if (days === undefined) throw nothingLeft(read);
  await readLedger(tx, { ...shape, byModel: read.byModel }, days, groups);

  const rounding = { unit: options.unit ?? unitOf(Math.max(read.decimals, leastDecimals)) };
  const steps = { left: maxSteps.file };
  const compared = groups.all().map((group) => ({
    group,
    ...compareBucket(group, rounding, steps),
  }));
  const drift = createDrift();
  for (const { result } of compared) {
    for (const { reason, usd } of result.drift) drift.add(reason, parseAmount(usd)?.atto ?? 0n);
  }
  const sumOf = (amount: (one: Compared) => bigint) =>
    compared.reduce((sum, one) => sum + amount(one), 0n);
  const [fileAtto, ledgerAtto] = [sumOf((one) => one.fileAtto), sumOf((one) => one.ledgerAtto)];
  const { unknown, resolutions } = decide(compared, days, options);
  return {
    format: shape.name,
    rows: read.rows,
    matched: compared.filter(({ result }) => result.state !== 'differs').length,
    of: compared.length,
    from: days.first,
    to: days.last,
    fileUsd: formatAtto(fileAtto),
    ledgerUsd: formatAtto(ledgerAtto),
    driftUsd: formatAtto(fileAtto - ledgerAtto),
    drift: drift.parts(),
    buckets: compared.map(({ result }) => result),
    differences: [],
    unknown,
    resolutions,
    notes: [...notesOf(read, options), ...unpricedNote(compared)],
  };
}

function nothingLeft({ rows, aside }: ReadBuckets): PurserError {
  if (rows === 0) return new PurserError('file_empty', 'the file has a header and no row');
  const why = [...aside].map(([name, { rows: count }]) => `${count} ${name}`).join(', ');
  return new PurserError('file_empty', `no row of the file can be compared: ${why}`);
}

type Place = Compared & { readonly group: Group };

/** An unknown call can stand in one bucket, or in one of two if it ran over midnight. */
function decide(
  compared: readonly Place[],
  days: { readonly last: string },
  { finalBefore, evidence }: BucketOptions,
): { unknown: UnknownCost[]; resolutions: Resolution[] } {
  const places = new Map<string, { call: OpenCall; places: Place[] }>();
  for (const place of compared) {
    for (const call of place.group.open) {
      if (call.kind !== 'unknown') continue;
      const known = places.get(call.id) ?? { call, places: [] };
      known.places.push(place);
      places.set(call.id, known);
    }
  }
  const unknown: UnknownCost[] = [];
  const resolutions: Resolution[] = [];
  for (const { call, places: own } of places.values()) {
    const range = rangeOf(call, own, days.last);
    const open = whyOpen(range, own, finalBefore);
    const { id: reservationId, tenantId, charged } = call;
    const chargedUsd = formatAtto(charged);
    const [lowUsd, highUsd] = [formatAtto(range.low), formatAtto(range.high)];
    unknown.push({ reservationId, tenantId, chargedUsd, lowUsd, highUsd, open });
    if (open !== undefined) continue;
    resolutions.push({
      reservationId,
      tenantId,
      chargedUsd,
      costNanoUsd: nanoCeil(range.high),
      evidence: `${evidence()} ${own.map(({ group }) => group.day).join(' ')} ${own[0]?.group.key.slice(0, 60) ?? ''}`,
    });
  }
  return { unknown, resolutions };
}

/** What is not explained may have cost anything up to the hold; so may what can stand behind the end of the file. */
function rangeOf(call: OpenCall, places: readonly Place[], last: string): CostRange {
  const ranges = places.map(({ ranges }) => ranges?.get(call.id));
  const isWhole = !ranges.includes(undefined) && call.endDay <= last;
  const low = ranges.reduce((most, range) => larger(most, range?.low ?? 0n), 0n);
  const high = ranges.reduce((most, range) => larger(most, range?.high ?? call.charged), 0n);
  // In one bucket at a cost above zero, it is in no other.
  const isSure = low > 0n && low === high;
  return { id: call.id, low, high: isWhole || isSure ? high : call.charged };
}

function whyOpen(
  range: CostRange,
  places: readonly Place[],
  finalBefore: Date,
): string | undefined {
  if (places.some(({ ranges }) => ranges === undefined)) return 'nothing explains its bucket';
  if (places.some(({ result }) => result.gaveUp)) return 'too many assignments to try them all';
  if (!isOneCost(range)) return 'more than one assignment explains its bucket';
  const isFinal = places.every(
    ({ group }) => Date.parse(`${group.day}T00:00:00Z`) + dayMs <= finalBefore.getTime(),
  );
  return isFinal ? undefined : 'the bucket may not be final yet';
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);

function unpricedNote(compared: readonly Compared[]): string[] {
  const count = compared.filter(({ result }) => result.fileUsd === null).length;
  return count === 0
    ? []
    : [
        `${count} buckets have usage of a model or tier that the ledger has no price of, and count as no cost`,
      ];
}

function notesOf(read: ReadBuckets, { project, key }: BucketOptions): string[] {
  const notes = [...read.aside].map(
    ([why, { rows, atto }]) => `left out: ${rows} ${why}, ${formatAtto(atto)} USD`,
  );
  if (project === undefined && read.projects.size > 1) {
    notes.push(
      `the file has ${read.projects.size} projects or workspaces; --project NAME takes the rows of one`,
    );
  }
  if (key === undefined && read.keys.size > 1) {
    notes.push(`the file has ${read.keys.size} API keys; --key NAME takes the rows of one`);
  }
  return notes;
}
