/** A gzip file is read to its end or refused: rows behind a damaged byte must not be left out silently. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codeOf } from '../../../src/errors.ts';
import { plainBytes } from '../../../src/costs/uploads/source-file.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'purser-gzip-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const path = (): string => join(folder, 'costs.csv.gz');

async function read(...parts: readonly (Buffer | string)[]): Promise<string> {
  await writeFile(path(), Buffer.concat(parts.map((part) => Buffer.from(part))));
  const chunks: Buffer[] = [];
  for await (const chunk of plainBytes(path())) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const [a, b] = [gzipSync('a,1\n'), gzipSync('b,2\n')];
const zeros = (count: number): Buffer => Buffer.alloc(count);
/** Ends at the limit of a block that is read at once, so that the next byte is the first of another block. */
const blockBytes = 256 * 1024;

describe('a gzip file', () => {
  it('of several members is read as one', async () => {
    expect(await read(a, b, a)).toBe('a,1\nb,2\na,1\n');
  });

  it.each([1, 511, blockBytes - a.length, blockBytes, 3 * blockBytes])(
    'may end with %d zero bytes',
    async (count) => {
      expect(await read(a, zeros(count))).toBe('a,1\n');
      expect(await read(a, b, zeros(count))).toBe('a,1\nb,2\n');
    },
  );

  it.each([
    ['a member after zeros', [a, zeros(512), b]],
    ['a member after the zeros of a whole block', [a, zeros(blockBytes - a.length), b]],
    ['a member after zeros of several blocks', [a, zeros(3 * blockBytes), b]],
    ['a member whose first byte is zero', [a, zeros(1), b.subarray(1)]],
    ['a text after zeros', [a, zeros(3), 'b,2\n']],
    ['one byte after zeros', [a, zeros(3 * blockBytes), '\n']],
    ['a text', [a, 'b,2\n']],
    ['a member of another compression method', [a, Buffer.from([0x1f, 0x8b, 9]), b.subarray(3)]],
  ])('with %s behind a member is refused as damaged', async (_, parts) => {
    await expect(read(...parts)).rejects.toMatchObject({
      code: 'gzip_damaged',
      message: expect.stringMatching(
        /^costs\.csv\.gz: the gzip file is damaged.*download it again/,
      ),
      details: { class: 'fatal' },
    });
  });

  it('with a single byte behind a member is refused', async () => {
    await expect(read(a, '\n')).rejects.toMatchObject({ code: 'gzip_truncated' });
  });

  it('that is cut anywhere but between members is refused', async () => {
    const whole = Buffer.concat([a, b]);
    for (let length = 2; length < whole.length; length += 1) {
      if (length === a.length) continue;
      await expect(read(whole.subarray(0, length)), `${length} bytes`).rejects.toMatchObject({
        code: 'gzip_truncated',
      });
    }
  });

  it('with one zero byte anywhere is refused, or gives the same text', async () => {
    const whole = Buffer.concat([a, b]);
    for (let at = 2; at < whole.length; at += 1) {
      const damaged = Buffer.from(whole);
      damaged[at] = 0;
      const result = await read(damaged).catch(codeOf);
      expect(result, `byte ${at}`).toMatch(/^(?:gzip_\w+|a,1\nb,2\n)$/);
    }
  });
});
