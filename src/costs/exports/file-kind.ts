/**
 * Refuses files that are not CSV by their first bytes, and CSV with another delimiter than the comma (semicolon, tab)
 * or with lines before the header. The message says what the file is and which file to make instead.
 */

import type { CsvRecord } from './csv-records.ts';

/** What to do with the file; undefined when the bytes may begin a CSV. */
export type Fault = { readonly code: string; readonly message: string } | undefined;

/** So many bytes are enough for `faultOfContent`. */
export const sniffedBytes = 4096;

const fromSource = 'export it from its source as CSV (plain or gzip)';

const signatures: readonly (readonly [string, string, string])[] = [
  ['50415231', 'a Parquet file', 'choose CSV (gzip) as the file format of the export'],
  ['4f5243', 'an ORC file', fromSource],
  ['4f626a01', 'an Avro file', fromSource],
  ['1f8b', 'gzip inside gzip', 'unpack it once'],
  ['425a68', 'a bzip2 file', 'unpack it, or pack it with gzip'],
  ['fd377a585a00', 'an xz file', 'unpack it, or pack it with gzip'],
  ['28b52ffd', 'a Zstandard file', 'unpack it, or pack it with gzip'],
  ['377abcaf271c', 'a 7z archive', 'unpack it'],
  ['25504446', 'a PDF', fromSource],
  [
    'd0cf11e0a1b11ae1',
    'an Excel workbook (.xls)',
    `${fromSource}; a spreadsheet changes long ids and dates`,
  ],
];

/** Text of mostly Latin letters has a NUL in every other byte in UTF-16, in three of four in UTF-32. */
function wideEncoding(bytes: Buffer): string | undefined {
  const groups = Math.min(bytes.length, 512) >> 2;
  const nuls = [0, 0, 0, 0];
  for (let at = 0; at < groups * 4; at += 1) {
    if (bytes[at] === 0) nuls[at % 4] = (nuls[at % 4] ?? 0) + 1;
  }
  if (groups < 2) return undefined;
  const places = nuls.map((count) => (count > groups * 0.7 ? '0' : 'x')).join('');
  if (places === 'x0x0' || places === '0x0x') return 'UTF-16';
  return places === 'x000' || places === '000x' ? 'UTF-32' : undefined;
}

/** The magic of a tar archive follows the name, mode, owner and size of its first file. */
const isTar = (bytes: Buffer): boolean => bytes.toString('latin1', 257, 262) === 'ustar';

function zipFault(bytes: Buffer): Fault {
  const text = bytes.toString('latin1');
  if (text.includes('application/vnd.oasis.opendocument.spreadsheet')) {
    return unsupported(
      'a spreadsheet (.ods)',
      `${fromSource}; a spreadsheet changes long ids and dates`,
    );
  }
  const workbook = /\[Content_Types\]\.xml|xl\/|_rels\//.test(text);
  return workbook
    ? unsupported(
        'an Excel workbook (.xlsx)',
        `${fromSource}; a spreadsheet changes long ids and dates`,
      )
    : unsupported('a zip archive', 'unpack it, and name each file of the export by --file');
}

function unsupported(kind: string, advice: string): Fault {
  return { code: 'unsupported_file', message: `this is ${kind}, not CSV: ${advice}` };
}

export function faultOfContent(bytes: Buffer): Fault {
  if (['504b0304', '504b0506'].includes(bytes.subarray(0, 4).toString('hex'))) {
    return zipFault(bytes);
  }
  for (const [signature, kind, advice] of signatures) {
    if (bytes.subarray(0, signature.length / 2).toString('hex') === signature) {
      return unsupported(kind, advice);
    }
  }
  const [a, b] = bytes;
  if (isTar(bytes)) return unsupported('a tar archive', 'unpack it');
  const marked = (a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff);
  const encoding = wideEncoding(bytes) ?? (marked ? 'UTF-16' : undefined);
  if (encoding !== undefined) {
    return { code: 'csv_not_utf8', message: `the file is ${encoding}; export it as UTF-8` };
  }
  if (bytes.subarray(0, 16).every((byte) => byte === 0)) {
    return unsupported(
      'a file of NUL bytes',
      'it is damaged, or no file; export or download it again',
    );
  }
  const start = bytes
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .trimStart();
  if (start.startsWith(String.raw`{\rtf`)) return unsupported('a text document (RTF)', fromSource);
  if (start.startsWith('{') || start.startsWith('[')) {
    return unsupported(
      'JSON',
      'export the costs as CSV; a manifest must have the extension .json and list the files of the export',
    );
  }
  if (/^<(?:!doctype|html|\?xml)/i.test(start)) {
    return unsupported(
      'an HTML or XML page',
      'most likely an error or login page was downloaded; download it again',
    );
  }
  const separator = /^"?sep=(.)/i.exec(start)?.[1];
  if (separator === undefined) return undefined;
  return wrongLayout(`line 1 is "sep=${separator}", a note to a spreadsheet: delete that line`);
}

function wrongLayout(message: string): Fault {
  return { code: 'wrong_columns', message };
}

const separators: readonly (readonly [string, string])[] = [
  [';', 'semicolons'],
  ['\t', 'tabs'],
  ['|', 'vertical bars'],
];

/**
 * What is wrong with a file whose first record is not a header that is read: its columns are separated by something
 * else, or lines stand before the header. `isHeader` tells whether names are those of a known export.
 */
export function faultOfLayout(
  records: readonly Pick<CsvRecord, 'line' | 'fields' | 'bytes'>[],
  isHeader: (names: readonly string[]) => boolean,
): Fault {
  for (const { line, fields, bytes } of records.slice(0, 50)) {
    const names = fields.map((name) => name ?? '');
    if (line > 1 && isHeader(names)) {
      return wrongLayout(`the column names are on line ${line}: delete the lines before it`);
    }
    for (const [separator, name] of separators) {
      const parts = bytes
        .toString('utf8')
        .replace(/^\uFEFF/, '')
        .split(separator);
      if (parts.length < 3 || !isHeader(parts.map((part) => part.replaceAll('"', '')))) continue;
      const preamble = line > 1 ? `, and the column names are on line ${line}` : '';
      return wrongLayout(
        `its columns are separated by ${name}${preamble}: export it with commas, and without lines before the column names`,
      );
    }
  }
  return undefined;
}
