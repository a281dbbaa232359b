/**
 * Reads CSV (RFC 4180, commas only, LF or CRLF, optional BOM) from byte chunks with bounded memory; file-kind.ts refuses other separators. Unlike CSV libraries it keeps
 * whether a field was quoted, the line on which a record starts and the record's bytes, reports bytes that are not
 * UTF-8, and a record with a fault does not affect the records around it.
 */
import { isUtf8 } from 'node:buffer';
import { PurserError } from '../../errors.ts';
import { carriageReturn, FieldTable, lineFeed, scan } from './csv-scan.ts';

/** What is wrong with a record; `field` is the 0-based position, or null for the whole record. */
interface RecordFault {
  readonly field: number | null;
  readonly reason: string;
}

export interface CsvRecord {
  /** 1-based line of the file on which the record starts. */
  readonly line: number;
  /**
   * Text of each field. An unquoted NULL (any case) is null, a quoted one is text; in a record whose fields are all
   * quoted, the writer quotes everything, and a quoted NULL is null too.
   */
  readonly fields: readonly (string | null)[];
  readonly faults: readonly RecordFault[];
  /** Lines of the file that the record spans; more than one where a quoted field holds line feeds. */
  readonly lines: number;
  /** The record as it lies in the file, without its line end. Valid until the next batch. */
  readonly bytes: Buffer;
}

export interface CsvLimits {
  /** A larger field is a fault of its record. Default `defaultMaxFieldBytes`. */
  readonly maxFieldBytes?: number;
  /** A larger record ends the file: most likely a quote that never closes. Default 16 MiB. */
  readonly maxRecordBytes?: number;
}

export const defaultMaxFieldBytes = 65_536;
const noFaults: readonly RecordFault[] = [];

function decode(
  buffer: Buffer,
  from: number,
  to: number,
  { line, lines }: Pick<CsvRecord, 'line' | 'lines'>,
  table: FieldTable,
  maxFieldBytes: number,
): CsvRecord {
  const whole = table.ascii ? buffer.toString('latin1', from, to) : '';
  const fields: (string | null)[] = [];
  let faults: RecordFault[] | undefined;
  const quotesAll = table.count > 1 && !table.quoted.slice(0, table.count).includes(false);
  for (let field = 0; field < table.count; field += 1) {
    const start = table.starts[field] ?? 0;
    const end = table.ends[field] ?? 0;
    let text = '';
    let reason: string | undefined;
    if (end - start > maxFieldBytes) {
      reason = `the field has ${end - start} bytes; the maximum is ${maxFieldBytes}`;
    } else if (table.halfQuoted[field] === true) {
      reason =
        'the field is not quoted and has a quote that has no other; write both quotes, or write it twice inside of quotes';
    } else if (table.ascii) {
      text = whole.substring(start - from, end - from);
    } else if (isUtf8(buffer.subarray(start, end))) {
      text = buffer.toString('utf8', start, end);
    } else {
      reason = 'the field is not UTF-8; export the file as UTF-8';
    }
    if (table.broken[field] === true) {
      faults = [...(faults ?? []), { field: null, reason: 'text after a closing quote' }];
    }
    if (reason !== undefined) faults = [...(faults ?? []), { field, reason }];
    if (table.escaped[field] === true) text = text.replaceAll('""', '"');
    const mayBeNull = text.length === 4 && (quotesAll || table.quoted[field] !== true);
    fields.push(mayBeNull && /^null$/i.test(text) ? null : text);
  }
  return { line, lines, fields, faults: faults ?? noFaults, bytes: buffer.subarray(from, to) };
}

function endOfRecord(buffer: Buffer, next: number): number {
  let end = next;
  if (end > 0 && buffer[end - 1] === lineFeed) end -= 1;
  while (end > 0 && buffer[end - 1] === carriageReturn) end -= 1;
  return end;
}

function tooLong(line: number, maxRecordBytes: number): PurserError {
  return new PurserError(
    'csv_unterminated_quote',
    `line ${line}: the record that starts here is longer than ${maxRecordBytes} bytes; ` +
      'most likely a quote opened here never closes, or the lines end with a carriage return only',
    { details: { class: 'fatal', line } },
  );
}

/**
 * Records of a CSV in batches, one batch per input chunk (pull-based: nothing is read ahead). Empty
 * lines are skipped. Throws PurserError `csv_unterminated_quote` or `csv_not_utf8` (a UTF-16 file),
 * both with `details.class` fatal.
 */
export async function* csvRecords(
  chunks: AsyncIterable<Uint8Array>,
  limits: CsvLimits = {},
): AsyncGenerator<CsvRecord[], void, undefined> {
  const maxFieldBytes = limits.maxFieldBytes ?? defaultMaxFieldBytes;
  const maxRecordBytes = limits.maxRecordBytes ?? 16 * 1024 * 1024;
  const table = new FieldTable();
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let scanAgainAt = 0;
  let line = 1;
  let first = true;

  const drain = (atEnd: boolean): CsvRecord[] => {
    const buffer = pending.length === 1 ? (pending[0] ?? Buffer.alloc(0)) : Buffer.concat(pending);
    const records: CsvRecord[] = [];
    let at = 0;
    if (first && (buffer.length >= 3 || atEnd)) {
      at = startOfText(buffer);
      first = false;
    }
    while (at < buffer.length) {
      const scanned = scan(buffer, at, atEnd, table);
      if (scanned === null) break;
      if (scanned.unterminated) {
        throw new PurserError(
          'csv_unterminated_quote',
          `line ${line}: a quote in the record that starts here never closes; the file is truncated or damaged`,
          { details: { class: 'fatal', line } },
        );
      }
      const end = Math.max(at, endOfRecord(buffer, scanned.next));
      if (end > at) {
        const place = { line, lines: scanned.newlines };
        records.push(decode(buffer, at, end, place, table, maxFieldBytes));
      }
      line += scanned.newlines;
      at = scanned.next;
    }
    const rest = buffer.subarray(at);
    if (rest.length > maxRecordBytes) throw tooLong(line, maxRecordBytes);
    pending = rest.length === 0 ? [] : [rest];
    pendingBytes = rest.length;
    // A long record is scanned again only when its bytes have doubled, so that the cost stays linear.
    scanAgainAt = rest.length * 2;
    return records;
  };

  for await (const chunk of chunks) {
    pending.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    pendingBytes += chunk.byteLength;
    if (pendingBytes < 3 || pendingBytes < Math.min(scanAgainAt, maxRecordBytes)) continue;
    const records = drain(false);
    if (records.length > 0) yield records;
  }
  const records = pendingBytes > 0 ? drain(true) : [];
  if (records.length > 0) yield records;
}

function startOfText(buffer: Buffer): number {
  const [a, b, c] = buffer;
  if ((a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff)) {
    throw new PurserError('csv_not_utf8', 'the file is UTF-16; export it as UTF-8', {
      details: { class: 'fatal' },
    });
  }
  return a === 0xef && b === 0xbb && c === 0xbf ? 3 : 0;
}
