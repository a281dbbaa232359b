/**
 * Reads an export from the operator's disk, plain or gzip, as uncompressed bytes, and refuses a file with a fault
 * before anything is uploaded: empty, truncated, a gzip bomb, not UTF-8, not of a known format.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { createGunzip } from 'node:zlib';
import { codeOf, messageOf, PurserError } from '../../errors.ts';
import { csvRecords } from '../exports/csv-records.ts';
import { mapColumns } from '../exports/format.ts';
import { faultOfContent, faultOfLayout, sniffedBytes } from '../exports/file-kind.ts';
import { chooseFormat, isKnownHeader } from '../exports/formats.ts';
import type { FormatChoice, FormatName } from '../exports/formats.ts';

export interface FileLimits {
  /** Maximum uncompressed bytes of a file. Default 64 GiB. */
  readonly maxBytes?: number;
  /** Maximum uncompressed bytes per compressed byte, checked after the first 64 MiB. Default 200. */
  readonly maxRatio?: number;
}

export interface FileSummary {
  readonly fileName: string;
  /** SHA-256 of the uncompressed bytes, in hex. */
  readonly fileHash: string;
  readonly byteCount: number;
  readonly format: FormatName;
  readonly header: readonly (string | null)[];
  /** Lines of the whole file, and those of its header. */
  readonly lines: number;
  readonly headerLines: number;
  /** Whether the last line has a line end, as one that was cut has not. */
  readonly endsLine: boolean;
}

const gib = 1024 ** 3;
const ratioCheckedFromBytes = 64 * 1024 * 1024;
const readBytes = 256 * 1024;

function fault(code: string, path: string, message: string, cause?: unknown): PurserError {
  return new PurserError(code, `${basename(path)}: ${message}`, {
    details: { class: 'fatal', file: basename(path) },
    ...(cause === undefined ? {} : { cause }),
  });
}

async function isGzip(path: string): Promise<boolean> {
  const file = await open(path).catch((error: unknown) => {
    throw fault('file_unreadable', path, `cannot be opened: ${messageOf(error)}`, error);
  });
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(2), 0, 2, 0);
    return bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b;
  } finally {
    await file.close();
  }
}

function damagedGzip(path: string, what: string, cause?: unknown): PurserError {
  return fault('gzip_damaged', path, `the gzip file is damaged: ${what}; download it again`, cause);
}

/**
 * Node's gunzip reports success at a zero byte behind a member and leaves the rest of the file unread; only zeros up to
 * the end of the file are padding.
 */
async function checkEndOfGzip(path: string, consumedBytes: number): Promise<void> {
  let at = consumedBytes;
  const rest = createReadStream(path, { start: at, highWaterMark: readBytes });
  for await (const chunk of rest as AsyncIterable<Buffer>) {
    const data = chunk.findIndex((byte) => byte !== 0);
    if (data !== -1) {
      throw damagedGzip(
        path,
        `data follows at byte ${at + data}, behind bytes that are not a gzip member`,
      );
    }
    at += chunk.length;
  }
}

/**
 * The file's uncompressed bytes, read on demand. Throws PurserError `file_unreadable`, `gzip_truncated`, `gzip_damaged`,
 * `gzip_bomb` or `file_too_large`.
 */
export async function* plainBytes(
  path: string,
  limits: FileLimits = {},
): AsyncGenerator<Buffer, void, undefined> {
  const maxBytes = limits.maxBytes ?? 64 * gib;
  const maxRatio = limits.maxRatio ?? 200;
  const gzip = await isGzip(path);
  const raw = createReadStream(path, { highWaterMark: readBytes });
  const gunzip = gzip ? createGunzip({ chunkSize: readBytes }) : undefined;
  if (gunzip !== undefined) {
    raw.once('error', (error) => gunzip.destroy(error));
    raw.pipe(gunzip);
  }
  let bytes = 0;
  try {
    for await (const chunk of (gunzip ?? raw) as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > maxBytes) {
        throw fault('file_too_large', path, `more than ${maxBytes} bytes when unpacked; split it`);
      }
      if (gzip && bytes > ratioCheckedFromBytes && bytes > maxRatio * raw.bytesRead) {
        throw fault(
          'gzip_bomb',
          path,
          `unpacks to more than ${maxRatio} times its size, which no cost export does; unpack it and check it`,
        );
      }
      yield chunk;
    }
    if (gunzip !== undefined) await checkEndOfGzip(path, gunzip.bytesWritten);
  } catch (error) {
    if (error instanceof PurserError) throw error;
    const code = codeOf(error);
    if (code === 'Z_BUF_ERROR') {
      throw fault('gzip_truncated', path, 'the gzip file is truncated; download it again', error);
    }
    if (code.startsWith('Z_')) {
      throw damagedGzip(path, messageOf(error), error);
    }
    throw fault('file_unreadable', path, `cannot be read: ${messageOf(error)}`, error);
  } finally {
    raw.destroy();
    gunzip?.destroy();
  }
}

/**
 * Reads the file once: its hash, its size, its header, its format. Throws what `plainBytes` throws, `file_empty`,
 * `csv_not_utf8`, and `wrong_columns` naming the columns that are missing.
 */
export async function summariseFile(
  path: string,
  limits: FileLimits = {},
  choice: FormatChoice = 'auto',
): Promise<FileSummary> {
  const header = await readHeader(path, limits, choice);
  const hash = createHash('sha256');
  let byteCount = 0;
  let lines = 0;
  let endsLine = true;
  for await (const chunk of plainBytes(path, limits)) {
    hash.update(chunk);
    byteCount += chunk.length;
    lines += countLineFeeds(chunk);
    endsLine = chunk.at(-1) === lineFeed;
  }
  if (!endsLine) lines += 1;
  const fileHash = hash.digest('hex');
  return { fileName: basename(path), fileHash, byteCount, lines, endsLine, ...header };
}

const lineFeed = 0x0a;

export function countLineFeeds(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(lineFeed); at !== -1; at = bytes.indexOf(lineFeed, at + 1))
    count += 1;
  return count;
}

/** The file's bytes; throws `unsupported_file`, `csv_not_utf8` or `wrong_columns` when they do not begin a CSV. */
async function* textBytes(
  path: string,
  limits: FileLimits,
): AsyncGenerator<Buffer, void, undefined> {
  const check = (bytes: Buffer): Buffer => {
    const found = faultOfContent(bytes);
    if (found !== undefined) throw fault(found.code, path, found.message);
    return bytes;
  };
  let start: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of plainBytes(path, limits)) {
    if (start === undefined) {
      yield chunk;
      continue;
    }
    start = Buffer.concat([start, chunk]);
    if (start.length < sniffedBytes) continue;
    yield check(start);
    start = undefined;
  }
  if (start !== undefined && start.length > 0) yield check(start);
}

async function readHeader(
  path: string,
  limits: FileLimits,
  choice: FormatChoice,
): Promise<Pick<FileSummary, 'format' | 'header' | 'headerLines'>> {
  const addName = (error: unknown): never => {
    if (!(error instanceof PurserError) || error.code.startsWith('file_')) throw error;
    if (error.message.startsWith(basename(path))) throw error;
    throw fault(error.code, path, error.message, error);
  };
  const records = csvRecords(textBytes(path, limits));
  try {
    const { value } = await records.next().catch(addName);
    const [header] = value ?? [];
    if (header === undefined) {
      throw fault('file_empty', path, 'the file is empty; an export has a header line');
    }
    const format = chooseFormat(choice, header.fields);
    try {
      mapColumns(format, header.fields);
    } catch (error) {
      const layout = codeOf(error) === 'wrong_columns' && faultOfLayout(value ?? [], isKnownHeader);
      throw layout ? fault(layout.code, path, layout.message, error) : error;
    }
    // A column without its name would not be read, and its values would be missing.
    const [broken] = header.faults;
    if (broken !== undefined) {
      const where = broken.field === null ? '' : `, column ${broken.field + 1} `;
      throw fault('wrong_columns', path, `line 1${where}: ${broken.reason}`);
    }
    const headerLines = header.line + countLineFeeds(header.bytes);
    return { format: format.name, header: header.fields, headerLines };
  } catch (error) {
    return addName(error);
  } finally {
    await records.return();
  }
}
