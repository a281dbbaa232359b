/**
 * The fault suites (`npm run test:faults`): real processes of the built command line that are killed, frozen
 * and cut off. One file at a time, because some stop the Postgres that all of them use.
 */
import { defineConfig } from 'vitest/config';

const reportFile = process.env['PURSER_TEST_REPORT'];

export default defineConfig({
  test: {
    include: ['test/faults/**/*.faults.ts'],
    globalSetup: ['test/faults/global-setup.ts'],
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    // No bound on how fast: a scenario that hangs fails by its own waits, which name what is missing.
    testTimeout: 600_000,
    hookTimeout: 120_000,
    reporters:
      reportFile === undefined ? ['verbose'] : ['verbose', ['json', { outputFile: reportFile }]],
  },
});
