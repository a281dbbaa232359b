/**
 * Turns CSV records into lines of Postgres COPY text, or into the reason why a row is not taken. Holds small
 * bounded caches, as most values of an export repeat.
 */
import type { CsvRecord } from './csv-records.ts';
import { focusColumns } from './columns.ts';
import type { ColumnMap } from './columns.ts';
import type { Reading } from './values.ts';

export interface RowFault {
  readonly line: number;
  readonly column: string | null;
  readonly reason: string;
}

/** `copyLine`: line, source, and the columns of `focusColumns` in order. */
export type RowReading = { readonly copyLine: string } | { readonly fault: RowFault };

const maxCached = 2000;
const maxCachedLength = 1024;
const needsEscape = /[\\\n\r\t]/;
const escapes: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** A value in COPY's text format. */
function copyText(value: string): string {
  if (!needsEscape.test(value)) return value;
  return value.replaceAll(/[\\\n\r\t]/g, (character) => escapes[character] ?? character);
}

const indexOfTarget = new Map(focusColumns.map(({ target }, index) => [target, index]));

function targetIndex(target: string): number {
  const index = indexOfTarget.get(target);
  if (index === undefined) throw new Error(`no FOCUS column goes to ${target}`);
  return index;
}

const provider = targetIndex('provider_name');
const billingAccount = targetIndex('billing_account_id');
const periodStart = targetIndex('charge_period_start');
const periodEnd = targetIndex('charge_period_end');
const tags = targetIndex('tags');

export interface RowReaderOptions {
  readonly columns: ColumnMap;
  /** The operator's name for where the file comes from; null names rows `<provider>/<billing account>`. */
  readonly source: string | null;
  /** The first field of each record is the line of the original file. */
  readonly hasLineColumn: boolean;
}

/** A function that reads one record. A row is taken whole or not at all: its first fault is the one told. */
export function createRowReader(options: RowReaderOptions): (record: CsvRecord) => RowReading {
  const { columns, source, hasLineColumn } = options;
  const caches = focusColumns.map(({ repeats }) => (repeats ? new Map<string, Reading>() : null));

  const readField = (index: number, text: string): Reading => {
    const column = focusColumns[index];
    if (column === undefined) throw new Error(`no FOCUS column ${index}`);
    const cache = caches[index];
    if (cache === null || cache === undefined) return column.read(text);
    if (text.length > maxCachedLength) return column.read(text);
    const known = cache.get(text);
    if (known !== undefined) return known;
    // A field is a slice of its record; a copy of it does not keep the whole record in memory.
    const copy = Buffer.from(text).toString();
    const reading = column.read(copy);
    if (cache.size >= maxCached) cache.clear();
    cache.set(copy, reading);
    return reading;
  };

  return (record) => {
    const line = hasLineColumn ? Number(record.fields[0]) : record.line;
    const fail = (column: string | null, reason: string): RowReading => ({
      fault: { line, column, reason },
    });
    const broken = record.faults.find(({ field }) => field === null);
    if (broken !== undefined) return fail(null, broken.reason);
    if (record.fields.length !== columns.width) {
      return fail(null, `${record.fields.length} fields where the header has ${columns.width}`);
    }
    const values: (string | null)[] = [];
    for (let index = 0; index < focusColumns.length; index += 1) {
      const column = focusColumns[index];
      const position = columns.positions[index] ?? -1;
      if (column === undefined) continue;
      const fault = record.faults.find(({ field }) => field === position);
      if (fault !== undefined) return fail(column.name, fault.reason);
      const text = position === -1 ? null : (record.fields[position] ?? null);
      if (text === null || text === '') {
        if (column.required) return fail(column.name, 'no value; every row needs one');
        values.push(null);
        continue;
      }
      const reading = readField(index, text);
      if ('reason' in reading) return fail(column.name, reading.reason);
      values.push(reading.value);
    }
    // ISO UTC text of one form sorts as the instants do.
    if ((values[periodEnd] ?? '') < (values[periodStart] ?? '')) {
      return fail('ChargePeriodEnd', 'the charge period ends before it starts');
    }
    values[tags] ??= '{}';
    const from = source ?? `${values[provider] ?? ''}/${values[billingAccount] ?? ''}`;
    let copyLine = `${line}\t${copyText(from)}`;
    for (const value of values) copyLine += value === null ? '\t\\N' : `\t${copyText(value)}`;
    return { copyLine: `${copyLine}\n` };
  };
}
