/**
 * An export in one file or in several: the parts of one delivery are read as one file, with the header once, so that
 * they replace an earlier delivery together. A part that is given alone is refused.
 */
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { PurserError } from '../../errors.ts';
import type { CsvRecord } from '../exports/csv-records.ts';
import type { FormatChoice } from '../exports/formats.ts';
import { faultOfPartNames, positionInName } from './part-names.ts';
import { countLineFeeds, plainBytes, summariseFile } from './source-file.ts';
import type { FileLimits, FileSummary } from './source-file.ts';

/** Where a part begins in the joined file, so that a fault can name the line of its own file. */
export interface ExportPart {
  readonly fileName: string;
  /** Line of the joined file with the part's first row. */
  readonly firstLine: number;
  /** Line of that row in the part itself. */
  readonly ownLine: number;
}

interface PartFile extends FileSummary {
  readonly path: string;
}

export interface ExportSummary extends Pick<FileSummary, 'fileName' | 'fileHash' | 'byteCount'> {
  readonly format: FileSummary['format'];
  readonly header: FileSummary['header'];
  readonly files: readonly PartFile[];
  /** Empty for an export in one file. */
  readonly parts: readonly ExportPart[];
}

export interface ExportOptions {
  readonly limits?: FileLimits | undefined;
  readonly format?: FormatChoice | undefined;
  /** A file is a whole export, whatever its name says. */
  readonly complete?: boolean | undefined;
}

const byName = new Intl.Collator('en', { numeric: true });

function refuse(message: string): PurserError {
  return new PurserError('export_parts', message, { details: { class: 'fatal' } });
}

const together =
  'give all parts of the export in one command (--file PART --file PART, or --file with its manifest)';

/** Throws `export_parts` when the names say that the files are not one whole export. */
function checkNames(names: readonly string[]): void {
  const [name = ''] = names;
  const position = positionInName(name);
  if (names.length === 1) {
    if (position === undefined) return;
    const total = position.total === undefined ? '' : ` of ${position.total}`;
    throw refuse(
      `${name}: its name says that it is part ${position.part}${total} of an export, and a part alone would ` +
        `replace the others; ${together}. If the file is the whole export, add --complete`,
    );
  }
  const fault = faultOfPartNames(names);
  if (fault === undefined) return;
  throw refuse(
    `${fault} (${names.join(', ')} are given); ${together}. If the files are the whole export, add --complete`,
  );
}

/** Throws `export_parts` for a file that is given twice or has other columns than the first. */
function checkFiles([first, ...others]: readonly PartFile[]): void {
  if (first === undefined) throw refuse('name a file');
  const seen = new Map([[first.fileHash, first.fileName]]);
  for (const { fileName, fileHash, header, format, lines, headerLines } of others) {
    const same = seen.get(fileHash);
    // Programs that write a fixed number of parts leave some without rows; these are all alike.
    if (same !== undefined && lines > headerLines)
      throw refuse(`${fileName} has the same content as ${same}; give it once`);
    seen.set(fileHash, fileName);
    if (format !== first.format || header.join('\n') !== first.header.join('\n')) {
      throw refuse(
        `${fileName} has other columns than ${first.fileName}; parts of one export have the same`,
      );
    }
  }
}

function partsOf(files: readonly PartFile[]): ExportPart[] {
  let firstLine = 1;
  return files.map(({ fileName, lines, headerLines }, index) => {
    const skipped = index === 0 ? 0 : headerLines;
    const part = { fileName, firstLine, ownLine: skipped + 1 };
    firstLine += lines - skipped;
    return part;
  });
}

/**
 * Returns a check for the records of the joined file, in order: throws `export_parts` where one begins in a part and
 * ends in a later one, whose rows it would swallow.
 */
export function recordsWithinParts(
  parts: readonly ExportPart[],
): (record: Pick<CsvRecord, 'line' | 'bytes'>) => void {
  let next = 1;
  return ({ line, bytes }) => {
    while ((parts[next]?.firstLine ?? Infinity) <= line) next += 1;
    const [part, following] = [parts[next - 1], parts[next]];
    if (part === undefined || following === undefined) return;
    if (line + countLineFeeds(bytes) < following.firstLine) return;
    throw refuse(
      `${part.fileName} ends inside a quote, which was opened in the record of its line ` +
        `${line - part.firstLine + part.ownLine}; it is truncated or damaged, and the rows of ${following.fileName} ` +
        'would be read as its text: export it again',
    );
  };
}

/** Reads each file once. Throws what `summariseFile` throws, and `export_parts`. */
export async function summariseExport(
  path: string | readonly string[],
  { limits, format, complete = false }: ExportOptions,
): Promise<ExportSummary> {
  const paths = typeof path === 'string' ? [path] : path;
  const sorted = paths.toSorted((a, b) => byName.compare(basename(a), basename(b)));
  if (!complete) checkNames(sorted.map((each) => basename(each)));
  const files: PartFile[] = [];
  for (const each of sorted)
    files.push({ path: each, ...(await summariseFile(each, limits, format)) });
  checkFiles(files);
  const [first] = files;
  if (first === undefined) throw refuse('name a file');
  if (files.length === 1) return { ...first, files, parts: [] };
  const hashes = files.map(({ fileHash }) => fileHash).join(' ');
  return {
    fileName: `${first.fileName} and ${files.length - 1} more`,
    fileHash: createHash('sha256').update(hashes).digest('hex'),
    byteCount: files.reduce((sum, { byteCount }) => sum + byteCount, 0),
    format: first.format,
    header: first.header,
    files,
    parts: partsOf(files),
  };
}

/** Without the first `lines` lines. */
async function* afterLines(
  chunks: AsyncIterable<Buffer>,
  lines: number,
): AsyncGenerator<Buffer, void, undefined> {
  let left = lines;
  for await (const chunk of chunks) {
    let from = 0;
    for (; left > 0 && from < chunk.length; left -= 1) {
      const end = chunk.indexOf(lineFeed, from);
      if (end === -1) break;
      from = end + 1;
    }
    if (left === 0 && from < chunk.length) yield chunk.subarray(from);
  }
}

const lineFeed = 0x0a;

/**
 * Files with rows whose last line has no line end. Most programs write one, so that a file without may be cut: within
 * a value, its last row looks whole.
 */
export const withoutLineEnd = ({ files }: ExportSummary): string[] =>
  files
    .filter(({ endsLine, lines, headerLines }) => !endsLine && lines > headerLines)
    .map(({ fileName }) => fileName);

/** The files once more, as one; throws `file_changed` when the bytes of one are not those of its summary. */
export async function* exportBytes(
  { files, byteCount }: ExportSummary,
  limits: FileLimits | undefined,
  onProgress: ((readBytes: number, totalBytes: number) => void) | undefined,
): AsyncGenerator<Buffer, void, undefined> {
  let readBytes = 0;
  let endsLine = true;
  for (const [index, file] of files.entries()) {
    const hash = createHash('sha256');
    const bytes = async function* (): AsyncGenerator<Buffer, void, undefined> {
      for await (const chunk of plainBytes(file.path, limits)) {
        hash.update(chunk);
        readBytes += chunk.length;
        onProgress?.(readBytes, byteCount);
        yield chunk;
      }
    };
    let isFirstChunk = true;
    for await (const chunk of afterLines(bytes(), index === 0 ? 0 : file.headerLines)) {
      if (isFirstChunk && !endsLine) yield Buffer.from('\n');
      isFirstChunk = false;
      endsLine = chunk.at(-1) === lineFeed;
      yield chunk;
    }
    if (hash.digest('hex') !== file.fileHash) {
      throw new PurserError(
        'file_changed',
        `${file.fileName} changed while it was being read; upload it again when it is complete`,
        { details: { class: 'fatal', file: file.fileName } },
      );
    }
  }
}
