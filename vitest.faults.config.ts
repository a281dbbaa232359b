/**
 * The fault suites (`npm run test:faults`): real processes of the built command line that are killed, frozen
 * and cut off. Two files at a time; each project has a Postgres of its own, because the suite of Postgres outages
 * stops its server.
 */
import { defineConfig } from 'vitest/config';

const reportFile = process.env['PURSER_TEST_REPORT'];
const outages = 'test/faults/postgres-outages.faults.ts';

const shared = {
  globalSetup: ['test/faults/global-setup.ts'],
  pool: 'forks' as const,
  // No bound on how fast: a scenario that hangs fails by its own waits, which name what is missing.
  testTimeout: 600_000,
  hookTimeout: 120_000,
};

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      { test: { ...shared, name: 'Postgres outages', include: [outages] } },
      {
        test: {
          ...shared,
          name: 'other faults',
          include: ['test/faults/**/*.faults.ts'],
          exclude: [outages],
        },
      },
    ],
    reporters:
      reportFile === undefined ? ['verbose'] : ['verbose', ['json', { outputFile: reportFile }]],
  },
});
