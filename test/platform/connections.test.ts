/** The smallest fleet needs fewer than 20 Postgres connections, and as many as docs/deployment.md lists. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemConnections } from '../../src/cli/runtime/roles.ts';
import { roleNames } from '../../src/cli/startup/steps.ts';
import { workerTenantConnections } from '../../src/cli/runtime/worker-parts.ts';
import { finopsJobTypes } from '../../src/builtins.ts';
import { loadBuiltins } from '../../src/handlers/index.ts';
import { queueConnections } from '../../src/queues/backend.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import type { CliProcess } from '../support/process.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { ingestSample, leave, startRole, untilWorkIsDone } from './fleet.ts';

const smallestFleet = 19;
const leaseConnections = 1;
const builtins = await loadBuiltins(finopsJobTypes);

/** Maximum number of Postgres connections of a role. */
function connectionsOf(role: (typeof roleNames)[number], queuesInPostgres: boolean): number {
  const workers = role === 'worker' ? builtins.length : 0;
  const own = role === 'worker' ? leaseConnections + workerTenantConnections(1) : 0;
  return systemConnections[role] + own + (queuesInPostgres ? queueConnections(workers) : 0);
}

async function mostUnderLoad(database: TestDatabase, redisUrl: string | undefined) {
  const env = { DATABASE_URL: database.url, REDIS_URL: redisUrl, WORKER_CONCURRENCY: '10' };
  const fleet: CliProcess[] = [];
  let most = 0;
  try {
    for (const role of roleNames) fleet.push(await startRole(role, env));
    await ingestSample(env);
    await untilWorkIsDone(database.sql, async () => {
      const [row] = await database.sql<{ used: number }[]>`
        select count(*)::int as used from pg_stat_activity
        where datname = ${database.name} and backend_type = 'client backend'
          and application_name <> 'purser test' and application_name not like 'purser cli %'`;
      most = Math.max(most, row?.used ?? 0);
    });
    await leave(fleet);
  } finally {
    await Promise.all(fleet.map((child) => child.kill()));
  }
  return most;
}

const formula = (queuesInPostgres: boolean): number =>
  roleNames.reduce((sum, role) => sum + connectionsOf(role, queuesInPostgres), 0);

describe('scheduler, worker and web under load', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await freshDatabase();
  });
  afterAll(() => database.close());

  it('stay within 19 Postgres connections with the queues in Postgres too', async () => {
    const most = await mostUnderLoad(database, undefined);
    process.stderr.write(`  queues in Postgres: ${most} connections at most\n`);
    expect(most).toBeGreaterThan(5);
    expect(most).toBeLessThanOrEqual(formula(true));
    expect(formula(true)).toBeLessThanOrEqual(smallestFleet);
  }, 150_000);
});

describeOnRedis('scheduler, worker and web under load, on Redis', () => {
  let database: TestDatabase;
  let redis: TestRedis;
  beforeAll(async () => {
    database = await freshDatabase();
    redis = await startRedis();
  });
  afterAll(async () => {
    await redis.stop();
    await database.close();
  });

  it('leave room for a second worker and a command within 19 Postgres connections', async () => {
    const most = await mostUnderLoad(database, redis.url);
    process.stderr.write(`  queues in Redis: ${most} connections at most\n`);
    expect(most).toBeGreaterThan(3);
    expect(most).toBeLessThanOrEqual(formula(false));
    const command = 2;
    expect(formula(false) + connectionsOf('worker', false) + command).toBeLessThanOrEqual(
      smallestFleet,
    );
  }, 150_000);
});

it('docs/deployment.md lists these numbers', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/deployment.md'), 'utf8');
  const { scheduler, web, worker } = systemConnections;
  expect(text).toContain(`| scheduler | ${scheduler} | ${queueConnections(0)} |`);
  expect(text).toContain(`| web | ${web} | ${queueConnections(0)} |`);
  expect(text).toContain(
    `| worker | ${worker} system + ${leaseConnections} for leases + ${workerTenantConnections(1)} tenant | ${queueConnections(0)} + one per job type |`,
  );
  expect(text).toContain(`${formula(false)} with Redis`);
  expect(text).toContain(`${formula(true)} with the queues in Postgres`);
});
