import { parse } from 'csv-parse/sync';
import { describe, expect, it } from 'vitest';
import { csvRecords } from '../../../src/costs/exports/csv-records.ts';
import type { CsvLimits, CsvRecord } from '../../../src/costs/exports/csv-records.ts';

/** The bytes in chunks of the given sizes, the last one repeating. */
async function* chunked(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[Math.min(turn, sizes.length - 1)] ?? 1;
    // A copy, so that nothing can be read past the end of a chunk.
    yield Buffer.from(bytes.subarray(at, at + size));
    at += size;
    await Promise.resolve();
  }
}

async function read(
  content: string | Buffer,
  sizes: readonly number[] = [65_536],
  limits: CsvLimits = {},
): Promise<CsvRecord[]> {
  const records: CsvRecord[] = [];
  for await (const batch of csvRecords(chunked(Buffer.from(content), sizes), limits)) {
    records.push(...batch);
  }
  return records;
}

/** Deterministic, so that a failing case can be repeated. */
function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 4_294_967_296) * below);
  };
}

const pieces = ['a', 'NULL', '', '"', ',', '\n', 'é', '漢', '😀', ' ', '\r\n', '\uFEFF', '0.1'];

function randomFile(random: (below: number) => number): string {
  const width = 1 + random(4);
  const rows = Array.from({ length: 1 + random(6) }, () =>
    Array.from({ length: width }, () => {
      const text = Array.from({ length: random(4) }, () => pieces[random(pieces.length)]).join('');
      const mustQuote = /[",\n\r\uFEFF]/.test(text) || random(3) === 0;
      return mustQuote ? `"${text.replaceAll('"', '""')}"` : text;
    }).join(','),
  );
  const lineEnd = random(2) === 0 ? '\n' : '\r\n';
  return rows.join(lineEnd) + (random(2) === 0 ? lineEnd : '');
}

const quotedMark = 'q';

/** A record whose fields are all quoted was written by a program that quotes NULL too. */
function textOf(marked: string, row: readonly string[]): string | null {
  const quotesAll = row.length > 1 && row.every((field) => field.startsWith(quotedMark));
  const text = marked.slice(1);
  return text === 'NULL' && (quotesAll || !marked.startsWith(quotedMark)) ? null : text;
}

describe('the CSV reader', () => {
  it('agrees with csv-parse on 3,000 random files, split into chunks at random', async () => {
    const random = createRandom(7);
    for (let file = 0; file < 3000; file += 1) {
      const text = randomFile(random);
      const marked: string[][] = parse(text, {
        relax_column_count: true,
        skip_empty_lines: true,
        record_delimiter: ['\n', '\r\n'],
        cast: (value, { quoting }) => `${quoting ? quotedMark : ' '}${value}`,
      });
      const expected = marked.map((row) => row.map((field) => textOf(field, row)));
      const sizes = [1 + random(5), 1 + random(9), 1 + random(40)];
      const records = await read(text, sizes);
      expect({ text, read: records.map(({ fields }) => fields) }).toEqual({ text, read: expected });
    }
  });

  it('gives each record its line, also after quoted line breaks', async () => {
    const records = await read('h\n"a\nb"\n\nc\r\n"d\r\ne"\r\nf', [3]);
    expect(records.map(({ line, fields }) => [line, fields[0]])).toEqual([
      [1, 'h'],
      [2, 'a\nb'],
      [5, 'c'],
      [6, 'd\r\ne'],
      [8, 'f'],
    ]);
  });

  it('returns the bytes of a record unchanged', async () => {
    const records = await read('\uFEFFa,"b"\r\nNULL,"NULL"\n"x""y", z', [2]);
    expect(records.map(({ bytes }) => bytes.toString())).toEqual([
      'a,"b"',
      'NULL,"NULL"',
      '"x""y", z',
    ]);
  });

  it('loses no row after one with text after its closing quote', async () => {
    const records = await read('1,"bad"x,2\n3,"ok",4\n5,6,7\n');
    expect(records.map(({ faults }) => faults.length)).toEqual([1, 0, 0]);
    expect(records[1]?.fields).toEqual(['3', 'ok', '4']);
  });

  it('reports the field whose bytes are not UTF-8, split over chunks or not', async () => {
    const bytes = Buffer.concat([Buffer.from('é,'), Buffer.from([0xc3]), Buffer.from(',ok\n')]);
    for (const size of [1, 2, 3, 100]) {
      const [record] = await read(bytes, [size]);
      expect(record?.fields).toEqual(['é', '', 'ok']);
      expect(record?.faults).toMatchObject([{ field: 1 }]);
    }
  });

  it('reads a record of 8 MB that arrives in small chunks in linear time', async () => {
    const text = `a,"${'x\n'.repeat(4_000_000)}"\nb,c\n`;
    const records = await read(text, [4096], { maxFieldBytes: 10_000_000 });
    expect(records.map(({ line }) => line)).toEqual([1, 4_000_002]);
  });

  it('refuses a record above the limit with the line where it starts', async () => {
    const text = `a\n"${'x'.repeat(5000)}`;
    await expect(read(text, [100], { maxRecordBytes: 1000 })).rejects.toMatchObject({
      code: 'csv_unterminated_quote',
      details: { class: 'fatal', line: 2 },
    });
  });

  it('reads no chunk before the next batch is requested', async () => {
    let pulled = 0;
    const source = async function* (): AsyncGenerator<Buffer> {
      for (;;) {
        pulled += 1;
        yield Buffer.from('a,b\nc,d\n');
        await Promise.resolve();
      }
    };
    const batches = csvRecords(source());
    await batches.next();
    await batches.next();
    expect(pulled).toBe(2);
    await batches.return();
  });
});
