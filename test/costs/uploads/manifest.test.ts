import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { listedIn } from '../../../src/costs/uploads/manifest.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'purser-manifest-'));
  for (const name of ['a-1.csv', 'a-2.csv']) await writeFile(join(folder, name), 'x\n');
});
afterAll(() => rm(folder, { recursive: true }));

async function manifestOf(name: string, content: unknown): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

it.each([
  ['CUR', { reportKeys: ['p/x/a-1.csv', 'p/x/a-2.csv'], account: '1' }],
  ['AWS Data Exports', { dataFiles: ['s3://bucket/x/a-1.csv', 's3://bucket/x/a-2.csv'] }],
  ['Azure', { blobs: [{ blobName: 'x/a-1.csv' }, { blobName: 'x/a-2.csv' }] }],
])('the files that a manifest of %s lists, in its folder', async (name, content) => {
  const path = await manifestOf(`${name}.json`, content);
  expect(await listedIn(path)).toEqual(['a-1.csv', 'a-2.csv'].map((each) => join(folder, each)));
});

it.each([
  ['a BOM', (text: string) => `\uFEFF${text}`],
  ['UTF-16', (text: string) => Buffer.from(`\uFEFF${text}`, 'utf16le')],
])('a manifest with %s is read', async (name, encode) => {
  const path = join(folder, `${name}.json`);
  await writeFile(path, encode(JSON.stringify({ reportKeys: ['a-1.csv', 'a-2.csv'] })));
  expect(await listedIn(path)).toHaveLength(2);
});

it('files that are missing are named', async () => {
  const path = await manifestOf('missing.json', { reportKeys: ['p/a-1.csv', 'p/a-3.csv'] });
  await expect(listedIn(path)).rejects.toMatchObject({
    code: 'export_parts',
    message: expect.stringMatching(/^missing\.json lists files .*: a-3\.csv; download/),
  });
  await expect(listedIn(await manifestOf('no.json', { dataFiles: [] }))).rejects.toMatchObject({
    code: 'export_parts',
  });
});

it.each([
  ['other.json', { rows: [] }],
  ['broken.json', '{'],
  ['data.csv', '{"reportKeys": ["a-1.csv"]}'],
])('%s is not a manifest', async (name, content) => {
  const path = await manifestOf(name, content);
  expect(await listedIn(path)).toEqual([path]);
});
