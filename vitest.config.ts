/**
 * One Postgres for the whole run (test/support/global-setup.ts), one database per test file.
 * PURSER_TEST_REPORT names a file for the JSON report, which CI counts.
 */
import { defineConfig } from 'vitest/config';

const reportFile = process.env['PURSER_TEST_REPORT'];

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    reporters:
      reportFile === undefined ? ['default'] : ['default', ['json', { outputFile: reportFile }]],
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      reporter: ['json', 'text-summary'],
      reportsDirectory: 'coverage',
    },
  },
});
