/** The database driver as it is published: a copy of the installed one with patches/ taken back. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { applyPatch, parsePatch, reversePatch } from 'diff';
import type { StructuredPatch } from 'diff';

const root = join(import.meta.dirname, '..', '..');
const inDriver = /^[ab]\/node_modules\/postgres\//;

export interface Patch {
  readonly file: string;
  readonly text: string;
  readonly diffs: readonly StructuredPatch[];
}

/** In the order in which they are applied. */
export const patches: readonly Patch[] = readdirSync(join(root, 'patches'))
  .filter((file) => file.endsWith('.patch'))
  .toSorted()
  .map((file) => {
    const text = readFileSync(join(root, 'patches', file), 'utf8');
    return { file, text, diffs: parsePatch(text) };
  });

/** A file of a diff, relative to the driver's folder. */
export const pathOf = (diff: StructuredPatch): string =>
  (diff.newFileName ?? '').replace(inDriver, '');

/** Puts the published driver into `folder`. Throws when the installed one is not what patches/ leaves. */
export async function copyPublishedDriver(folder: string): Promise<void> {
  await cp(join(root, 'node_modules', 'postgres'), folder, { recursive: true });
  for (const diff of patches.flatMap(({ diffs }) => diffs).toReversed()) {
    const path = join(folder, pathOf(diff));
    const text = applyPatch(await readFile(path, 'utf8'), reversePatch(diff));
    if (text === false) throw new Error(`${pathOf(diff)} is not what patches/ leaves: npm ci`);
    if (diff.oldFileName === '/dev/null') await rm(path);
    else await writeFile(path, text);
  }
}

/** The name that git gives to a file's content: what the `index` lines of a diff say. */
export function blobId(content: string): string {
  const bytes = Buffer.from(content);
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
}
