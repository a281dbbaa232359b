/** The quick run is a choice that is written down: what it leaves out and why, and that no promise is left out. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { promiseSuites, slowSuites } from './slow-suites.ts';

const missing = (files: readonly string[]) =>
  files.filter((file) => !existsSync(join(import.meta.dirname, file)));

it('every slow suite exists and says why it is slow', () => {
  expect(missing(slowSuites.map(({ file }) => file))).toEqual([]);
  expect(slowSuites.filter(({ reason }) => reason.length < 20)).toEqual([]);
});

it('every promise is tested by the quick run', () => {
  const slow = new Set(slowSuites.map(({ file }) => file));
  for (const [promise, files] of Object.entries(promiseSuites)) {
    expect(missing(files), promise).toEqual([]);
    expect(
      files.filter((file) => slow.has(file)),
      promise,
    ).toEqual([]);
  }
  expect(Object.keys(promiseSuites)).toHaveLength(8);
});
