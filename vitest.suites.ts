/** What `npm test` and `npm run test:all` share. PURSER_TEST_REPORT names a file for a JSON report. */
const reportFile = process.env['PURSER_TEST_REPORT'];

export const suites = {
  include: ['test/**/*.test.ts'],
  globalSetup: ['test/support/global-setup.ts'],
  pool: 'forks' as const,
  maxWorkers: 2,
  testTimeout: 30_000,
  hookTimeout: 60_000,
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
