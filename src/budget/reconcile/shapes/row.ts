/** A row of a provider's file, and the values in it. What cannot be read refuses the file: money is not guessed. */
import { PurserError } from '../../../errors.ts';
import { parseAmount } from '../amounts.ts';
import type { Amount } from '../amounts.ts';

export interface FileRow {
  /** 1-based line of the file; of a JSON document, the number of the result. */
  readonly line: number;
  /** By lower-case name; an empty value is null. Fields of JSON objects are joined: `amount.value`. */
  readonly values: ReadonlyMap<string, string | null>;
}

/** Names of one column in the forms that a provider writes it, the usual one first. */
export type ColumnNames = readonly string[];

export function textOf({ values }: FileRow, names: ColumnNames): string | null {
  for (const name of names) {
    const text = values.get(name) ?? null;
    if (text !== null) return text;
  }
  return null;
}

/** Throws `bad_value`, naming line and column. The value itself is quoted only in part: a row may hold names. */
export function badValue(row: FileRow, names: ColumnNames, fault: string): PurserError {
  const name = names.find((one) => (row.values.get(one) ?? null) !== null) ?? names[0];
  return new PurserError('bad_value', `line ${row.line}, ${name}: ${fault}`);
}

const shown = (text: string): string => JSON.stringify(text.slice(0, 40));

/** USD times 10^`shift`. Null where it is empty. */
export function amountOf(row: FileRow, names: ColumnNames, shift = 0): Amount | null {
  const text = textOf(row, names);
  if (text === null) return null;
  const amount = parseAmount(text, shift);
  if (amount !== undefined) return amount;
  throw badValue(
    row,
    names,
    `${shown(text)} is not an amount in USD below 10^9; write it like 0.0123, without currency sign or thousands separators`,
  );
}

/** Whole units, such as tokens; `30.0` is 30. Null where it is empty. */
export function countOf(row: FileRow, names: ColumnNames): bigint | null {
  const text = textOf(row, names);
  if (text === null) return null;
  const [, digits] = /^(\d{1,15})(?:\.0*)?$/.exec(text) ?? [];
  if (digits !== undefined) return BigInt(digits);
  throw badValue(row, names, `${shown(text)} is not a whole number of units`);
}

/** Seconds since 1970, or a date or time of ISO 8601, in UTC where it names no zone. Null where it is empty. */
export function timeOf(row: FileRow, names: ColumnNames): Date | null {
  const text = textOf(row, names);
  if (text === null) return null;
  const time = parseTime(text);
  if (time !== undefined) return time;
  throw badValue(row, names, `${shown(text)} is not a time; write it like 2026-11-01T00:00:00Z`);
}

const timePattern =
  /^(20\d{2}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?))? ?(Z|UTC|[+-]\d{2}(?::?\d{2})?)?$/;

export function parseTime(text: string): Date | undefined {
  if (/^\d{9,11}(\.\d+)?$/.test(text)) return new Date(Number(text) * 1000);
  const match = timePattern.exec(text);
  if (match === null) return undefined;
  const [, date = '', clock = '00:00', zone = 'Z'] = match;
  const offset =
    zone === 'UTC'
      ? 'Z'
      : zone.replace(/^([+-]\d{2})(\d{2})?$/, (_, h: string, m = '00') => `${h}:${m}`);
  const time = new Date(`${date}T${clock.replace(/(\.\d{3})\d+$/, '$1')}${offset}`);
  return Number.isNaN(time.getTime()) ? undefined : time;
}

/** The UTC day of a bucket. Throws `bad_value` for one that is not within one UTC day. */
export function dayOf(row: FileRow, start: ColumnNames, end?: ColumnNames): string {
  const from = timeOf(row, start);
  if (from === null) throw badValue(row, start, 'no value; every row needs one');
  const to = end === undefined ? null : timeOf(row, end);
  const day = from.toISOString().slice(0, 10);
  const dayEnd = Date.parse(`${day}T00:00:00Z`) + 86_400_000;
  if (to !== null && (to.getTime() > dayEnd || to < from)) {
    throw badValue(
      row,
      start,
      'the row is not of one UTC day; export the costs by day, or by hour, in UTC',
    );
  }
  return day;
}
