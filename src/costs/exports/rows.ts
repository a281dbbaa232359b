/**
 * Turns CSV records into lines of Postgres COPY text, or into the reason why a row is rejected. Caches parsed values
 * within bounds, because most values of an export repeat.
 */
import type { CsvRecord } from './csv-records.ts';
import { targets } from './format.ts';
import type { ColumnMap, MappedColumn, Target } from './format.ts';
import { accountOf, periodFault } from './source-key.ts';
import { printable } from './values.ts';
import type { Reading } from './values.ts';

export interface RowFault {
  readonly line: number;
  readonly column: string | null;
  readonly reason: string;
}

/**
 * `copyLine`: line, source, and `values`, the columns of `targets` in order; `warning`: an optional value that cannot
 * be read and is left out. `fault`: the row is rejected.
 */
export type RowReading =
  | {
      readonly copyLine: string;
      readonly values: readonly (string | null)[];
      readonly warning?: RowFault;
    }
  | { readonly fault: RowFault };

const storedWithout = 'the row is stored without this value';
const maxCached = 2000;
const maxCachedLength = 1024;
const needsEscape = /[\\\n\r\t]/;
const escapes: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** A value in COPY's text format. */
function copyText(value: string): string {
  if (!needsEscape.test(value)) return value;
  return value.replaceAll(/[\\\n\r\t]/g, (character) => escapes[character] ?? character);
}

const indexOf = (target: Target): number => targets.indexOf(target);
const provider = indexOf('provider_name');
const billingAccount = indexOf('billing_account_id');
const periodStart = indexOf('charge_period_start');
const periodEnd = indexOf('charge_period_end');
const billingPeriod = indexOf('billing_period');
const tags = indexOf('tags');

/** The text of a column in one record, or the fault of one of its fields; `from` is the index of the name. */
type FieldText =
  | { readonly text: string | null; readonly from: number }
  | { readonly reason: string; readonly from: number };

function textAt(record: CsvRecord, position: number): string | null {
  const text = position === -1 ? null : (record.fields[position] ?? null);
  return text === '' ? null : text;
}

export function readFieldText(column: MappedColumn, record: CsvRecord): FieldText {
  const { names, positions, combine } = column;
  if (record.faults.length > 0) {
    const from = positions.findIndex((at) => record.faults.some(({ field }) => field === at));
    const fault = record.faults.find(({ field }) => field === positions[from]);
    if (fault !== undefined) return { reason: fault.reason, from };
  }
  if (combine !== undefined) {
    return combine(
      positions.map((at) => textAt(record, at)),
      names,
    );
  }
  for (let from = 0; from < positions.length; from += 1) {
    const text = textAt(record, positions[from] ?? -1);
    if (text !== null) return { text, from };
  }
  return { text: null, from: 0 };
}

export interface RowReaderOptions {
  readonly columns: ColumnMap;
  /** The operator's name for where the file comes from; null names rows `<provider>/<billing account>`. */
  readonly source: string | null;
  /** The first field of each record is the line of the original file. */
  readonly hasLineColumn: boolean;
}

/**
 * Returns a function that reads one record. Only a fault in the record's shape or in a required column rejects the row:
 * an optional value that cannot be read must not drop the row's cost. The first fault is reported.
 */
export function createRowReader(options: RowReaderOptions): (record: CsvRecord) => RowReading {
  const { columns, source, hasLineColumn } = options;
  const caches = columns.columns.map((column) =>
    column?.repeats === true ? new Map<string, Reading>() : null,
  );

  const readField = (index: number, column: MappedColumn, text: string): Reading => {
    const cache = caches[index];
    if (cache === null || cache === undefined) return column.read(text);
    if (text.length > maxCachedLength) return column.read(text);
    const known = cache.get(text);
    if (known !== undefined) return known;
    // A field is a slice of its record; caching a copy does not keep the record in memory.
    const copy = Buffer.from(text).toString();
    const reading = column.read(copy);
    if (cache.size >= maxCached) cache.clear();
    cache.set(copy, reading);
    return reading;
  };

  return (record) => {
    const line = hasLineColumn ? Number(record.fields[0]) : record.line;
    const fail = (column: string | null, reason: string): RowReading => ({
      fault: { line, column: column === null ? null : printable(column), reason },
    });
    const broken = record.faults.find(({ field }) => field === null);
    if (broken !== undefined) return fail(null, broken.reason);
    if (record.fields.length !== columns.width) {
      return fail(null, `${record.fields.length} fields where the header has ${columns.width}`);
    }
    const values: (string | null)[] = [];
    let warning: RowFault | undefined;
    for (let index = 0; index < columns.columns.length; index += 1) {
      const column = columns.columns[index] ?? null;
      if (column === null) {
        values.push(null);
        continue;
      }
      const taken = readFieldText(column, record);
      const name = column.names[taken.from] ?? null;
      if ('text' in taken && taken.text === null) {
        if (column.required) return fail(name, 'no value; every row needs one');
        values.push(null);
        continue;
      }
      const reading = 'reason' in taken ? taken : readField(index, column, taken.text ?? '');
      if ('value' in reading) {
        values.push(reading.value);
        continue;
      }
      if (column.required) return fail(name, reading.reason);
      values.push(null);
      warning ??= {
        line,
        column: name === null ? null : printable(name),
        reason: `${reading.reason}; ${storedWithout}`,
      };
    }
    // The values are ISO texts of one form in UTC, so they sort like the instants.
    if ((values[periodEnd] ?? '') < (values[periodStart] ?? '')) {
      return fail(
        columns.columns[periodEnd]?.names[0] ?? null,
        'the charge period ends before it starts',
      );
    }
    values[tags] ??= '{}';
    const account = accountOf(values[provider] ?? '', values[billingAccount] ?? '');
    if ('reason' in account) {
      return fail(columns.columns[billingAccount]?.names[0] ?? null, account.reason);
    }
    values[billingAccount] = account.value;
    const fault = periodFault(values[provider] ?? '', values[billingPeriod] ?? '');
    if (fault !== undefined) return fail(columns.columns[billingPeriod]?.names[0] ?? null, fault);
    const from = source ?? `${values[provider] ?? ''}/${account.value}`;
    let copyLine = `${line}\t${copyText(from)}`;
    for (const value of values) copyLine += value === null ? '\t\\N' : `\t${copyText(value)}`;
    return { copyLine: `${copyLine}\n`, values, ...(warning === undefined ? {} : { warning }) };
  };
}
