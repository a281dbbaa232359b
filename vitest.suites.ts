/** What `npm test` and `npm run test:all` share. PURSER_TEST_REPORT names a file for a JSON report. */
import { BaseSequencer } from 'vitest/node';
import type { TestSpecification } from 'vitest/node';

/** Begins with the longest suite, which would run alone at the end. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // The method of the sequencer, which returns another list.
    // oxlint-disable-next-line unicorn/no-array-sort
    const sorted = await super.sort(files);
    return sorted.toSorted((one, other) => Number(isLongest(other)) - Number(isLongest(one)));
  }
}

const isLongest = ({ moduleId }: TestSpecification): boolean =>
  moduleId.endsWith('test/db/stable-plans-million.test.ts');

const reportFile = process.env['PURSER_TEST_REPORT'];

export const suites = {
  include: ['test/**/*.test.ts'],
  globalSetup: ['test/support/global-setup.ts'],
  pool: 'forks' as const,
  maxWorkers: 2,
  testTimeout: 30_000,
  hookTimeout: 60_000,
  sequence: { sequencer: LongestFirst },
  reporters:
    reportFile === undefined
      ? ['default']
      : ['default', ['json', { outputFile: reportFile }] satisfies [string, object]],
  coverage: {
    provider: 'v8' as const,
    include: ['src/**/*.ts'],
    reporter: ['json', 'text-summary'],
    reportsDirectory: 'coverage',
  },
};
