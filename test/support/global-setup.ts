/** Starts the run's Postgres before the first test file and stops it after the last. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { startTestServer } from './postgres.ts';
import type { TestPostgres } from './postgres.ts';
import { redisAvailable, redisMissing } from './redis-binary.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    testPostgres: TestPostgres;
    /** Where child processes write their V8 coverage; empty when coverage is off. */
    childCoverageDir: string;
  }
}

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { coverage } = project.config;
  const childCoverageDir = coverage.enabled ? join(coverage.reportsDirectory, 'children') : '';
  if (childCoverageDir !== '') {
    await rm(childCoverageDir, { recursive: true, force: true });
    await mkdir(childCoverageDir, { recursive: true });
  }
  project.provide('childCoverageDir', childCoverageDir);
  if (!redisAvailable) {
    if (process.env['CI'] === 'true') throw new Error(`${redisMissing}; CI must run them`);
    process.stderr.write(`\n  SKIPPED: ${redisMissing}\n\n`);
  }
  const server = await startTestServer(process.env['PURSER_TEST_POSTGRES_URL']);
  project.provide('testPostgres', server.facts);
  process.stderr.write(`  test Postgres ${server.facts.version} on port ${server.facts.port}\n`);
  return () => server.stop();
}
