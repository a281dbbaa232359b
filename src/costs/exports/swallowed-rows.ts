/**
 * Tells a record that most likely swallowed rows, whose money would be missing, from one with odd values: a stray quote
 * runs to the next quote of the file, and rows without a line feed between them are read as one.
 */
import { defaultMaxFieldBytes } from './csv-records.ts';
import type { CsvRecord } from './csv-records.ts';
import { carriageReturn, comma, FieldTable, lineFeed, scan } from './csv-scan.ts';

export type SwallowedRows =
  | {
      readonly by: 'quote';
      /** Line where the quote opens, and the one where it closes. */
      readonly line: number;
      readonly lastLine: number;
      readonly evidence: string;
    }
  | {
      readonly by: 'carriage return' | 'missing line end';
      readonly line: number;
      readonly evidence: string;
    };

function count(bytes: Buffer, wanted: number): number {
  let found = 0;
  for (let at = bytes.indexOf(wanted); at !== -1; at = bytes.indexOf(wanted, at + 1)) found += 1;
  return found;
}

/** Number of commas in each line, whatever its end. */
function commasByLine(value: Buffer): number[] {
  const counts: number[] = [];
  let commas = 0;
  for (const byte of value) {
    if (byte === comma) commas += 1;
    if (byte !== lineFeed && byte !== carriageReturn) continue;
    counts.push(commas);
    commas = 0;
  }
  return [...counts, commas];
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
    // Two rows without a line end between them share a field, or not if a comma stands there.
    const holdsTwo = fields.length > width && fields.length >= 2 * width - 1;
    let returns = count(bytes, carriageReturn);
    if (lines === 1 && returns === 0 && !holdsTwo) return undefined;
    scan(bytes, 0, true, table);
    let from = line;
    let first: number | undefined;
    for (let field = 0; field < table.count; field += 1) {
      if (table.quoted[field] !== true) continue;
      const value = bytes.subarray(table.starts[field], table.ends[field]);
      const span = count(value, lineFeed);
      const inside = count(value, carriageReturn);
      returns -= inside;
      if (span === 0 && inside === 0) continue;
      if (span > 0) first ??= from;
      const place = { by: 'quote' as const, line: from, lastLine: from + span };
      from += span;
      if (span > 0 && value.length > defaultMaxFieldBytes) {
        return {
          ...place,
          evidence: `the value has ${value.length} bytes, where ${defaultMaxFieldBytes} are allowed`,
        };
      }
      if (looksLikeRows(value, field, width)) {
        return { ...place, evidence: 'the lines of the value have the commas of rows' };
      }
    }
    const evidence = `${fields.length} fields where the header has ${width}`;
    if (returns > 0 && fields.length !== width) return { by: 'carriage return', line, evidence };
    if (lines > 1) {
      const place = { by: 'quote' as const, line: first ?? line, lastLine: line + lines - 1 };
      if (faults.some(({ field }) => field === null)) {
        return { ...place, evidence: 'text follows a closing quote' };
      }
      if (fields.length !== width) return { ...place, evidence: `the record has ${evidence}` };
    }
    return holdsTwo ? { by: 'missing line end', line, evidence } : undefined;
  };
}
