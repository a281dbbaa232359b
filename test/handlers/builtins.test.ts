/** PURSER_BUILTINS: what a deployment leaves out is not loaded, and its name stays taken. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, normalize } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { finopsJobTypes } from '../../src/builtins.ts';
import type { FinopsJobType } from '../../src/builtins.ts';
import { openRegistry } from '../../src/handlers/index.ts';

const sourceRoot = join(import.meta.dirname, '../../src');

const typesOf = async (finops: readonly FinopsJobType[]): Promise<string[]> => [
  ...(await openRegistry(undefined, undefined, finops)).keys(),
];

it('runs the FinOps job types that are named, and key_rotation always', async () => {
  expect(await typesOf([])).toEqual(['key_rotation']);
  expect(await typesOf(['finops_analysis'])).toEqual(['finops_analysis', 'key_rotation']);
  expect(await typesOf(finopsJobTypes)).toEqual([...finopsJobTypes, 'key_rotation']);
});

it('refuses a handler with the name of a built-in type, also of one that is left out', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'purser-builtins-'));
  const path = join(folder, 'own.mjs');
  const own = "{ type: 'finops_analysis', timeoutMs: 1, maxAttempts: 1, run: async () => {} }";
  await writeFile(path, `export const handlers = [${own}];`);
  try {
    await expect(openRegistry(path, undefined, [])).rejects.toMatchObject({
      exitCode: 78,
      message: expect.stringContaining('finops_analysis is built in, whatever PURSER_BUILTINS'),
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

/** Files of src/ that a new process loads while it opens a registry. */
async function filesLoadedWith(finops: readonly FinopsJobType[]): Promise<string[]> {
  const hook = `
    import { writeSync } from 'node:fs';
    export async function load(url, context, next) {
      writeSync(1, url + '\\n');
      return next(url, context);
    }`;
  const program = `
    import { register } from 'node:module';
    register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hook)}));
    const { openRegistry } = await import(${JSON.stringify(join(sourceRoot, 'handlers/index.ts'))});
    await openRegistry(undefined, undefined, ${JSON.stringify(finops)});`;
  const args = ['--import', 'tsx', '--input-type=module', '--eval', program];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return [...stdout.matchAll(/\/src\/([^\s?]+)/g)].map(([, path = '']) => path);
}

const ofCosts = (paths: Iterable<string>): string[] =>
  [...paths].filter((path) => path.startsWith('costs/'));

it('loads no file of src/costs when every FinOps job type is left out', async () => {
  const [off, on] = await Promise.all([filesLoadedWith([]), filesLoadedWith(finopsJobTypes)]);
  expect(off).toContain('handlers/key-rotation.ts');
  expect(ofCosts(off)).toEqual([]);
  expect(ofCosts(on)).toEqual(
    expect.arrayContaining(['costs/exports/rows.ts', 'costs/analysis/evidence.ts']),
  );
}, 30_000);

/** Files of src/ that are loaded with `entry`, before anything is imported on demand; types load nothing. */
function loadedWith(entry: string, seen = new Set<string>()): Set<string> {
  if (seen.has(entry)) return seen;
  seen.add(entry);
  const text = readFileSync(join(sourceRoot, entry), 'utf8');
  for (const [, specifier = ''] of text.matchAll(/^import (?!type )[^;]*?from '(\.[^']+)'/gm)) {
    loadedWith(normalize(join(entry, '..', specifier)), seen);
  }
  return seen;
}

it('a worker thread loads files of src/costs only through the registry', () => {
  const loaded = loadedWith('worker/executors/thread/main.ts');
  expect(loaded).toContain('handlers/index.ts');
  expect(ofCosts(loaded)).toEqual([]);
});
