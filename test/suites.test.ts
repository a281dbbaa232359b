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
  const promises = Object.entries(promiseSuites);
  expect(promises).toHaveLength(8);
  expect(promises.flatMap(([, files]) => missing(files))).toEqual([]);
  const untested = promises.filter(([, files]) => files.every((file) => slow.has(file)));
  expect(untested).toEqual([]);
});
