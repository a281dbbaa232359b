/** Reads a log of calls: every line once, with the reservation that it names. */
import type { Tx } from '../../../db/connect.ts';
import { PurserError } from '../../../errors.ts';
import type { FileRow } from '../shapes/row.ts';
import type { CallLine, CallShape } from '../shapes/shape.ts';
import { findRequestIds } from './ledger.ts';

export interface ReadLog {
  readonly rows: number;
  /** Lines of each call that is found by an id, by reservation. */
  readonly calls: ReadonlyMap<string, CallLine[]>;
  /** Lines whose ids are none of ours. */
  readonly foreign: readonly CallLine[];
  /** Lines that stand more than once, by the provider's id; they count once. */
  readonly repeated: number;
  /** Most decimals of a cost: what the log rounds to. */
  readonly decimals: number;
  /** Earliest and latest time; undefined where no line has one. */
  readonly times: { readonly first: Date; readonly last: Date } | undefined;
}

/** More are a file of a gigabyte, and are reconciled by day or month. */
const maxLines = 1_000_000;
const batch = 2_000;
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Throws what the shape throws, `file_too_large`, and `bad_value` for an id with two costs. */
export async function readLog(
  tx: Tx,
  provider: string,
  rows: AsyncIterable<FileRow>,
  shape: CallShape,
): Promise<ReadLog> {
  const lines: CallLine[] = [];
  const byRequest = new Map<string, CallLine>();
  let count = 0;
  let decimals = 0;
  let times: { first: Date; last: Date } | undefined;
  for await (const row of rows) {
    count += 1;
    if (count > maxLines) {
      throw new PurserError(
        'file_too_large',
        `the log has more than ${maxLines} calls; reconcile it by day or by month`,
      );
    }
    const line = shape.read(row);
    const { at, amount } = line;
    decimals = Math.max(decimals, amount.decimals);
    if (at !== null) {
      times = {
        first: times === undefined || at < times.first ? at : times.first,
        last: times === undefined || at > times.last ? at : times.last,
      };
    }
    if (isRepeated(byRequest, line)) continue;
    lines.push(line);
  }
  const found = await byReservation(tx, provider, lines);
  return { rows: count, ...found, repeated: count - lines.length, decimals, times };
}

/** Whether a line has the provider's id of an earlier one: an export that overlaps. */
function isRepeated(byRequest: Map<string, CallLine>, line: CallLine): boolean {
  if (line.requestId === null) return false;
  const earlier = byRequest.get(line.requestId);
  if (earlier === undefined) {
    byRequest.set(line.requestId, line);
    return false;
  }
  if (earlier.amount.atto === line.amount.atto && earlier.clientId === line.clientId) return true;
  throw new PurserError(
    'bad_value',
    `line ${line.line} has the request id of line ${earlier.line}, and another cost or client id; leave one of them out`,
  );
}

async function byReservation(
  tx: Tx,
  provider: string,
  lines: readonly CallLine[],
): Promise<Pick<ReadLog, 'calls' | 'foreign'>> {
  const calls = new Map<string, CallLine[]>();
  const foreign: CallLine[] = [];
  const others: CallLine[] = [];
  const take = (id: string, line: CallLine): void => {
    const known = calls.get(id);
    if (known === undefined) calls.set(id, [line]);
    else known.push(line);
  };
  for (const line of lines) {
    if (line.clientId !== null && uuid.test(line.clientId)) take(line.clientId.toLowerCase(), line);
    else others.push(line);
  }
  for (let from = 0; from < others.length; from += batch) {
    const part = others.slice(from, from + batch);
    const ids = await findRequestIds(
      tx,
      provider,
      part.flatMap(({ requestId }) => requestId ?? []),
    );
    for (const line of part) {
      const id = line.requestId === null ? undefined : ids.get(line.requestId);
      if (id === undefined) foreign.push(line);
      else take(id, line);
    }
  }
  return { calls, foreign };
}
