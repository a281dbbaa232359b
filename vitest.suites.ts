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

/** Their files run in the process of the file before: to start one and to load the code again takes longer than most of them. */
const sharing = ['budget', 'jobs', 'queues', 'scheduler', 'schedules', 'tenancy', 'worker'].map(
  (folder) => `test/${folder}/**/*.test.ts`,
);

/** They find what hangs: no test passes or fails by how fast the machine is. */
const bounds = {
  testTimeout: 120_000,
  hookTimeout: 120_000,
  expect: { poll: { timeout: 60_000 } },
  pool: 'forks' as const,
};

/** All suites but those of `exclude`, whose paths are relative to test/. */
export const suites = (exclude: readonly string[] = []) => {
  const left = exclude.map((file) => `test/${file}`);
  return {
    globalSetup: ['test/support/global-setup.ts'],
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    projects: [
      { test: { ...bounds, name: 'shared', include: sharing, exclude: left, isolate: false } },
      {
        test: {
          ...bounds,
          name: 'apart',
          include: ['test/**/*.test.ts'],
          exclude: [...sharing, ...left],
        },
      },
    ],
    reporters:
      reportFile === undefined
        ? ['default']
        : ['default', ['json', { outputFile: reportFile }] satisfies [string, object]],
    coverage: {
      provider: 'v8' as const,
      include: ['src/**/*.{ts,tsx}'],
      reporter: ['json', 'text-summary'],
      reportsDirectory: 'coverage',
    },
  };
};
