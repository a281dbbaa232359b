/** patches/ is what turns the published driver into the one that runs, and `npm run prepare` applies it. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { driverMark } from '../../src/db/driver.ts';
import { blobId, copyPublishedDriver, patches, pathOf } from '../support/published-driver.ts';
import type { Patch } from '../support/published-driver.ts';

let clone: string;
let driver: string;
beforeAll(async () => {
  clone = await mkdtemp(join(tmpdir(), 'purser-patches-'));
  driver = join(clone, 'node_modules', 'postgres');
  await mkdir(join(clone, 'scripts'));
  await cp('scripts/apply-patches.mjs', join(clone, 'scripts', 'apply-patches.mjs'));
  await cp('patches', join(clone, 'patches'), { recursive: true, verbatimSymlinks: true });
  await cp('node_modules/diff', join(clone, 'node_modules', 'diff'), { recursive: true });
});
beforeEach(async () => {
  await rm(driver, { recursive: true, force: true });
  await copyPublishedDriver(driver);
});
afterAll(() => rm(clone, { recursive: true, force: true }));

const runs = (path: string) => readFile(join('node_modules/postgres', path), 'utf8');
const copy = (path: string) => readFile(join(driver, path), 'utf8');
const touched = [...new Set(patches.flatMap(({ diffs }) => diffs.map(pathOf)))];

const applyPatches = () =>
  new Promise<{ code: number; stderr: string }>((resolve) => {
    const script = join(clone, 'scripts', 'apply-patches.mjs');
    execFile(process.execPath, [script], (error, _stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stderr });
    });
  });

/** Ids of a file's content before the first patch and after the last one, as git wrote them into the diffs. */
function idsOf(path: string): { first: string; last: string } {
  const line = new RegExp(
    String.raw`^diff --git a/node_modules/postgres/${path} b/.+\n(?:new file mode .+\n)?index (\w+)\.\.(\w+)`,
    'gm',
  );
  const found = patches.flatMap(({ text }) => [...text.matchAll(line)]);
  return { first: found[0]?.[1] ?? '', last: found.at(-1)?.[2] ?? '' };
}

/** What a patch does to one format: the lines that it adds and removes, file by file. */
const changesOf = (patch: Patch, format: RegExp): readonly string[][] =>
  patch.diffs
    .filter((diff) => format.test(pathOf(diff)))
    .map(({ hunks }) => hunks.flatMap(({ lines }) => lines.filter((line) => /^[+-]/.test(line))));

describe('patches/', () => {
  test('changes the ES modules and the CommonJS modules alike', () => {
    const esm = patches.map((patch) => [patch.file, changesOf(patch, /^src\/.+\.js$/)]);
    const commonJs = patches.map((patch) => [patch.file, changesOf(patch, /^cjs\/src\/.+\.js$/)]);
    expect(esm.length).toBeGreaterThan(5);
    expect(esm.filter(([, changes]) => changes?.length === 0)).toEqual([]);
    expect(commonJs).toEqual(esm);
  });

  test('leads from the published files to exactly those that run', async () => {
    expect(touched).toContain('cjs/src/index.js');
    const ids = await Promise.all(
      touched.map(async (path) => {
        const published = await copy(path).then(blobId, () => '0'.repeat(40));
        return { path, published, runs: blobId(await runs(path)) };
      }),
    );
    const said = touched.map((path) => {
      const { first, last } = idsOf(path);
      return {
        path,
        published: expect.stringMatching(new RegExp(`^${first}`)),
        runs: expect.stringMatching(new RegExp(`^${last}`)),
      };
    });
    expect(touched.map(idsOf).filter(({ first, last }) => first === '' || last === '')).toEqual([]);
    expect(ids).toEqual(said);
  });

  test('has a mark that changes with its differences, in both modules and in src/db/driver.ts', () => {
    const hash = createHash('sha256');
    for (const { text } of patches.slice(0, -1))
      hash.update(text.slice(text.indexOf('diff --git')));
    expect(driverMark).toBe(`purser ${hash.digest('hex').slice(0, 12)}`);
    const marks = [
      ...(patches.at(-1)?.text ?? '').matchAll(/^\+Connection\.patchedBy = '(.+)'$/gm),
    ];
    expect(marks.map(([, mark]) => mark)).toEqual([driverMark, driverMark]);
  });
});

describe('npm run prepare', () => {
  test('makes the driver that runs of the published one, and may be repeated', async () => {
    for (let round = 0; round < 2; round += 1) {
      expect(await applyPatches()).toEqual({ code: 0, stderr: '' });
      expect(await Promise.all(touched.map(copy))).toEqual(await Promise.all(touched.map(runs)));
    }
  });

  test('refuses a driver of another version, and changes nothing', async () => {
    const manifest = JSON.parse(await copy('package.json')) as object;
    await writeFile(
      join(driver, 'package.json'),
      JSON.stringify({ ...manifest, version: '3.4.10' }),
    );
    const before = await copy('src/connection.js');
    const { code, stderr } = await applyPatches();
    expect(code).toBe(1);
    expect(stderr).toContain('made for postgres 3.4.9, but node_modules/postgres has 3.4.10');
    expect(stderr).toContain('npm ci');
    expect(await copy('src/connection.js')).toBe(before);
  });

  test('refuses a driver that is patched in part, and changes nothing', async () => {
    await writeFile(join(driver, 'src/index.js'), await runs('src/index.js'));
    const before = await copy('src/connection.js');
    const { code, stderr } = await applyPatches();
    expect(code).toBe(1);
    expect(stderr).toContain('neither postgres 3.4.9 as published nor as patches/ leaves it');
    expect(stderr).toContain('npm ci');
    expect(await copy('src/connection.js')).toBe(before);
  });

  test('says what to run where nothing is installed', async () => {
    await rm(driver, { recursive: true });
    expect(await applyPatches()).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('node_modules/postgres is missing. Run: npm ci'),
    });
  });
});
