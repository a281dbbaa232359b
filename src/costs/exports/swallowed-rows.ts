/**
 * Tells a record of several lines whose quote most likely swallowed rows from one whose value holds line breaks: a
 * stray quote runs to the next quote of the file, and the money of the rows between is missing.
 */
import { defaultMaxFieldBytes } from './csv-records.ts';
import type { CsvRecord } from './csv-records.ts';
import { comma, FieldTable, lineFeed, scan } from './csv-scan.ts';

export interface SwallowedRows {
  /** Line where the quote opens, and the one where it closes. */
  readonly line: number;
  readonly lastLine: number;
  readonly evidence: string;
}

function count(bytes: Buffer, wanted: number): number {
  let found = 0;
  for (let at = bytes.indexOf(wanted); at !== -1; at = bytes.indexOf(wanted, at + 1)) found += 1;
  return found;
}

/** Number of commas in each line. */
function commasByLine(value: Buffer): number[] {
  const counts: number[] = [];
  for (let at = 0; at <= value.length;) {
    const end = value.indexOf(lineFeed, at);
    const next = end === -1 ? value.length : end;
    counts.push(count(value.subarray(at, next), comma));
    at = next + 1;
  }
  return counts;
}

/**
 * Whether a line of the value is a whole row, or its first line ends a row and its last one begins another, as when
 * quotes stand in the same column of two rows.
 */
function looksLikeRows(value: Buffer, field: number, width: number): boolean {
  const commas = commasByLine(value);
  if (commas.includes(width - 1)) return true;
  return commas[0] === width - 1 - field && commas.at(-1) === field;
}

/** Returns a check for the records of a file in order, the header first. */
export function createSwallowCheck(): (record: CsvRecord) => SwallowedRows | undefined {
  const table = new FieldTable();
  let width: number | undefined;

  return ({ line, lines, fields, faults, bytes }) => {
    width ??= fields.length;
    if (lines === 1) return undefined;
    scan(bytes, 0, true, table);
    let from = line;
    let first: number | undefined;
    for (let field = 0; field < table.count; field += 1) {
      const value = bytes.subarray(table.starts[field], table.ends[field]);
      const span = count(value, lineFeed);
      if (span === 0) continue;
      first ??= from;
      const place = { line: from, lastLine: from + span };
      from += span;
      if (value.length > defaultMaxFieldBytes) {
        return {
          ...place,
          evidence: `the value has ${value.length} bytes, where ${defaultMaxFieldBytes} are allowed`,
        };
      }
      if (looksLikeRows(value, field, width)) {
        return { ...place, evidence: 'the lines of the value have the commas of rows' };
      }
    }
    const place = { line: first ?? line, lastLine: line + lines - 1 };
    if (faults.some(({ field }) => field === null)) {
      return { ...place, evidence: 'text follows a closing quote' };
    }
    if (fields.length === width) return undefined;
    return {
      ...place,
      evidence: `the record has ${fields.length} fields where the header has ${width}`,
    };
  };
}
