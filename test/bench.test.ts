/** The measurements load what they measure from the build, whose paths the compiler does not check. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadBuild } from '../bench/jobs/build.ts';

test('bench:jobs finds every module of the build that it measures', async () => {
  const build = await loadBuild(join(import.meta.dirname, '..', 'dist'));
  expect(Object.values(build).filter((part) => part === undefined)).toEqual([]);
});
