/**
 * Opens a file of a provider's costs: CSV, JSON or JSON lines, plain or gzip. CSV and JSON lines are read row by row; a
 * JSON document stands in memory, and is smaller for that.
 */
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import type { ProviderFile } from '../../../budget/reconcile/reconcile.ts';
import type { FileRow } from '../../../budget/reconcile/shapes/row.ts';
import { csvRecords } from '../../../costs/exports/csv-records.ts';
import type { CsvRecord } from '../../../costs/exports/csv-records.ts';
import { faultOfContent, sniffedBytes } from '../../../costs/exports/file-kind.ts';
import { plainBytes } from '../../../costs/uploads/source-file.ts';
import { PurserError } from '../../../errors.ts';
import { jsonRows } from './json-rows.ts';

export interface FileBounds {
  /** Of a CSV or of JSON lines, uncompressed. Default 1 GiB. */
  readonly maxBytes?: number;
  /** Of a JSON document. Default 64 MiB. */
  readonly maxJsonBytes?: number;
}

export interface OpenedFile extends ProviderFile {
  /** Ends the reading, also of a file that was not read to its end. */
  readonly close: () => Promise<void>;
}

const mib = 1024 * 1024;

function fault(code: string, path: string, message: string): PurserError {
  return new PurserError(code, `${basename(path)}: ${message}`);
}

/**
 * Reads the header, or a whole JSON document. Throws `file_empty`, `not_utf8`, `bad_json`, `wrong_columns`,
 * `file_too_large` and what opening the file throws; iterating throws `bad_value` with the line.
 */
export async function openProviderFile(
  path: string,
  { maxBytes = 1024 * mib, maxJsonBytes = 64 * mib }: FileBounds = {},
): Promise<OpenedFile> {
  const hash = createHash('sha256');
  const chunks = hashed(plainBytes(path, { maxBytes }), hash);
  const close = async () => {
    await chunks.return();
  };
  const sha256 = () => hash.copy().digest('hex');
  try {
    return { ...(await readStart(path, chunks, maxJsonBytes)), sha256, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function readStart(
  path: string,
  chunks: AsyncGenerator<Buffer, void, undefined>,
  maxJsonBytes: number,
): Promise<Pick<ProviderFile, 'columns' | 'rows' | 'notes'>> {
  const head = await firstBytes(chunks);
  if (head.length === 0) throw fault('file_empty', path, 'the file is empty');
  const start = head
    .toString('latin1', 0, sniffedBytes)
    .replace(/^\u00ef\u00bb\u00bf/, '')
    .trimStart();
  if (start.startsWith('{') || start.startsWith('[')) {
    const text = await wholeText(path, head, chunks, maxJsonBytes);
    const { columns, rows, notes } = jsonRows(text, basename(path));
    return { columns, rows: iterate(rows), notes };
  }
  const unsupported = faultOfContent(head.subarray(0, sniffedBytes));
  if (unsupported !== undefined) throw fault(unsupported.code, path, unsupported.message);
  const records = flat(csvRecords(rejoined(head, chunks)));
  const header = await records.next();
  if (header.done === true) throw fault('file_empty', path, 'the file has no line');
  const columns = columnsOf(path, header.value);
  return { columns, rows: csvRows(path, columns, records), notes: [] };
}

async function* hashed(
  chunks: AsyncIterable<Buffer>,
  hash: ReturnType<typeof createHash>,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

/** Enough to tell what the file is. */
async function firstBytes(chunks: AsyncGenerator<Buffer, void, undefined>): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  while (bytes < sniffedBytes) {
    const next = await chunks.next();
    if (next.done === true) break;
    parts.push(next.value);
    bytes += next.value.length;
  }
  return Buffer.concat(parts);
}

async function* rejoined(
  head: Buffer,
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  yield head;
  yield* chunks;
}

async function* flat(
  batches: AsyncIterable<CsvRecord[]>,
): AsyncGenerator<CsvRecord, void, undefined> {
  for await (const records of batches) yield* records;
}

async function* iterate(rows: readonly FileRow[]): AsyncGenerator<FileRow, void, undefined> {
  for (const row of rows) yield await Promise.resolve(row);
}

async function wholeText(
  path: string,
  head: Buffer,
  chunks: AsyncIterable<Buffer>,
  maxBytes: number,
): Promise<string> {
  const parts = [head];
  let bytes = head.length;
  for await (const chunk of chunks) {
    parts.push(chunk);
    bytes += chunk.length;
    if (bytes > maxBytes) {
      throw fault(
        'file_too_large',
        path,
        `a JSON document of more than ${maxBytes} bytes is not read; export CSV, or fewer days`,
      );
    }
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts));
  } catch {
    throw fault('not_utf8', path, 'the file is not UTF-8; export it as UTF-8');
  }
}

function columnsOf(path: string, header: CsvRecord): string[] {
  const names = header.fields.map((name) => (name ?? '').trim().toLowerCase());
  const twice = names.find((name, place) => name !== '' && names.indexOf(name) !== place);
  if (twice !== undefined) {
    throw fault('wrong_columns', path, `the column ${twice.slice(0, 60)} appears twice; keep one`);
  }
  if (header.faults[0] !== undefined) throw fault('not_utf8', path, header.faults[0].reason);
  return names;
}

async function* csvRows(
  path: string,
  columns: readonly string[],
  records: AsyncIterable<CsvRecord>,
): AsyncGenerator<FileRow, void, undefined> {
  for await (const { line, fields, faults } of records) {
    const [first] = faults;
    if (first !== undefined) {
      const name = first.field === null ? '' : `, ${columns[first.field] ?? ''}`;
      throw fault('bad_value', path, `line ${line}${name}: ${first.reason}`);
    }
    if (fields.length !== columns.length) {
      throw fault(
        'bad_value',
        path,
        `line ${line} has ${fields.length} fields where the header has ${columns.length}`,
      );
    }
    const values = new Map<string, string | null>();
    columns.forEach((name, place) => {
      const text = fields[place]?.trim() ?? '';
      values.set(name, text === '' ? null : text);
    });
    yield { line, values };
  }
}
