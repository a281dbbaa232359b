/**
 * One Postgres for the fault suites. Some of them stop it: committed data survives that without fsync, since only the
 * server process ends. The command line comes from dist/.
 */
import { chmod, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { startEmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import { startTestServer } from '../support/postgres.ts';
import { redisAvailable, redisMissing } from '../support/redis-binary.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Data folder of the run's cluster, with its postmaster.pid. */
    postgresFolder: string;
  }
}

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  if (!redisAvailable) {
    if (process.env['CI'] === 'true') throw new Error(`${redisMissing}; CI must run them`);
    process.stderr.write(`\n  SKIPPED: ${redisMissing}\n\n`);
  }
  const dataDir = await mkdtemp(join(tmpdir(), 'purser-faults-'));
  await chmod(dataDir, 0o711);
  const server = await startEmbeddedPostgres({
    dataDir,
    durable: false,
    settings: {
      max_connections: '300',
      shared_buffers: '256MB',
      autovacuum_naptime: '5s',
      synchronous_commit: 'on',
    },
  });
  const made = await startTestServer(server.bootstrapUrl).catch(async (error: unknown) => {
    await server.stop();
    throw error;
  });
  project.provide('testPostgres', made.facts);
  project.provide('postgresFolder', server.dataDir);
  project.provide('childCoverageDir', '');
  return async () => {
    await made.stop();
    await server.stop();
  };
}
