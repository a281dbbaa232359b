/**
 * Checks of the whole file, made on each of its records: one that fails proves that rows which look right are missing
 * or read wrongly, so that the file is refused and nothing of it is stored.
 */
import { PurserError } from '../../errors.ts';
import { csvRecords } from '../exports/csv-records.ts';
import type { CsvRecord } from '../exports/csv-records.ts';
import { mapColumns } from '../exports/format.ts';
import { formatNamed } from '../exports/formats.ts';
import { createAmountCheck } from '../exports/number-format.ts';
import { createSwallowCheck } from '../exports/swallowed-rows.ts';
import type { SwallowedRows } from '../exports/swallowed-rows.ts';
import { printable } from '../exports/values.ts';
import { recordsWithinParts } from './export-parts.ts';
import type { ExportPart } from './export-parts.ts';

interface CheckedFile {
  readonly fileName: string;
  readonly parts: readonly ExportPart[];
  readonly format: string;
}

interface Place {
  readonly fileName: string;
  /** To be added to a line of the joined file. */
  readonly shift: number;
}

function placeOf({ fileName, parts }: CheckedFile, line: number): Place {
  const part = parts.findLast(({ firstLine }) => firstLine <= line);
  return part === undefined
    ? { fileName, shift: 0 }
    : { fileName: part.fileName, shift: part.ownLine - part.firstLine };
}

/** The error of a quote that never closes, with the file and the line of its part. */
function inItsFile(file: CheckedFile, error: unknown): unknown {
  if (!(error instanceof PurserError) || error.code !== 'csv_unterminated_quote') return error;
  const { line } = error.details;
  const prefix = `line ${String(line)}: `;
  if (typeof line !== 'number' || !error.message.startsWith(prefix)) return error;
  const { fileName, shift } = placeOf(file, line);
  const message = `${fileName}: line ${line + shift}: ${error.message.slice(prefix.length)}`;
  return new PurserError(error.code, message, {
    details: { ...error.details, line: line + shift },
    cause: error,
  });
}

function joined(place: string, { by, evidence }: SwallowedRows): string {
  return by === 'carriage return'
    ? `${place}: the line has a carriage return outside of quotes and ${evidence}; most likely the carriage return ends ` +
        'a row, and rows of this line would be missing. Nothing of the file was stored. Save the file with LF or CRLF ' +
        'line ends, or export it again'
    : `${place}: the line has ${evidence}; most likely line breaks are missing, and the rows of this line would be too. ` +
        'Nothing of the file was stored. Write each row on a line of its own, or export it again';
}

function swallowed(file: CheckedFile, rows: SwallowedRows): PurserError {
  const { fileName, shift } = placeOf(file, rows.line);
  const from = rows.line + shift;
  if (rows.by !== 'quote') {
    return new PurserError('csv_line_ends', joined(`${fileName}: line ${from}`, rows), {
      details: { class: 'fatal', line: from },
    });
  }
  const to = rows.lastLine + shift;
  const { evidence } = rows;
  return new PurserError(
    'csv_unterminated_quote',
    `${fileName}: lines ${from} to ${to} are one record: a quote opens in line ${from} and closes in line ${to}, and ` +
      `${evidence}; most likely the quote is a stray one and the rows of these lines would be missing. Nothing of the ` +
      'file was stored. Remove the quote, or write it twice inside of a quoted value, or export the file again',
    { details: { class: 'fatal', line: from, lastLine: to } },
  );
}

function formatted(
  file: CheckedFile,
  record: CsvRecord,
  column: string,
  what: string,
): PurserError {
  const { fileName, shift } = placeOf(file, record.line);
  const line = record.line + shift;
  return new PurserError(
    'number_format',
    `${fileName}: line ${line}, ${printable(column)}: the amount has ${what}, so other amounts of the file may mean ` +
      'another number than they seem to (1.234 may be 1234). Nothing of the file was stored. Export it with amounts ' +
      'like -1234.56: a decimal point, no thousands separators and no currency sign',
    { details: { class: 'fatal', line, column } },
  );
}

/**
 * The records of a file. Throws what `csvRecords` throws, with the file and the line of its part.
 */
export async function* recordsOf(
  file: CheckedFile,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<CsvRecord[], void, undefined> {
  try {
    yield* csvRecords(chunks);
  } catch (error) {
    throw inItsFile(file, error);
  }
}

/**
 * Returns a check for the records of a file in order, the header first. Throws `export_parts`,
 * `csv_unterminated_quote` and `csv_line_ends` (fatal), and for the header what `mapColumns` throws. `onFormatted` gets
 * the error `number_format` (fatal) of the first amount in another number format.
 */
export function createFileCheck(
  file: CheckedFile,
  onFormatted: (error: PurserError) => void,
): (record: CsvRecord) => void {
  const checkParts = recordsWithinParts(file.parts);
  const findSwallowed = createSwallowCheck();
  let findFormatted: ReturnType<typeof createAmountCheck> | undefined;
  return (record) => {
    checkParts(record);
    const rows = findSwallowed(record);
    if (rows !== undefined) throw swallowed(file, rows);
    if (findFormatted === undefined) {
      const columns = mapColumns(formatNamed(file.format), record.fields);
      findFormatted = createAmountCheck(columns, record.fields);
      return;
    }
    const amount = findFormatted(record);
    if (amount === undefined) return;
    findFormatted = () => undefined;
    onFormatted(formatted(file, record, amount.column, amount.fault));
  };
}
