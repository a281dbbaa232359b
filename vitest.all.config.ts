/**
 * `npm run test:all`: every suite but those of test/faults. The slow ones start first: they mostly wait, so one more
 * runs at a time than there are cores, and none is left over at the end.
 */
import { BaseSequencer } from 'vitest/node';
import type { TestSpecification } from 'vitest/node';
import { defineConfig } from 'vitest/config';
import { slowSuites } from './test/slow-suites.ts';
import { suites } from './vitest.suites.ts';

/** Its place among the slow suites; after them for any other. */
function placeOf({ moduleId }: TestSpecification): number {
  const place = slowSuites.findIndex(({ file }) => moduleId.endsWith(`/test/${file}`));
  return place === -1 ? slowSuites.length : place;
}

class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- not an array's
    const sorted = await super.sort(files);
    return sorted.toSorted((one, other) => placeOf(one) - placeOf(other));
  }
}

export default defineConfig({
  test: { ...suites, maxWorkers: 3, sequence: { sequencer: SlowFirst } },
});
