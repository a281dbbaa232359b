/**
 * A deployment from an empty database: migrate, three roles in four processes, a file of many tenants that is
 * deleted before it is ingested, and an orderly stop. Once on each queue backend.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../support/children.ts';
import { emptyDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { runCli } from '../support/process.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { fileTitle, hasRealFile, writeCostFile } from './cost-file.ts';
import { startRole, stopAll, untilAllEnded } from './fleet.ts';
import type { Environment } from './fleet.ts';

const expectedSize = hasRealFile ? [589, 44] : [expect.any(Number), 12];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'purser-e2e-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function ingestAndEnd(database: TestDatabase, env: Environment): Promise<(number | null)[]> {
  const migrated = await runCli(['migrate', 'up'], { env });
  expect(migrated).toMatchObject({ code: 0, stderr: '' });
  const web = { ...env, PORT: String(await freePort()) };
  const fleet = await Promise.all([
    startRole('scheduler', env),
    startRole('worker', env, folder),
    startRole('worker', env, tmpdir()),
    startRole('web', { ...web, DASHBOARD_USER: 'op', DASHBOARD_PASSWORD: 'correct horse' }),
  ]);
  const path = join(folder, 'export.csv');
  const file = await writeCostFile(path);
  expect([file.rows, file.tenants.length]).toEqual(expectedSize);
  const ingest = ['ingest', '--tenant-column', 'SubAccountId', '--create-tenants'];
  const uploaded = await runCli([...ingest, '--focus', path, '--json'], { env });
  expect(uploaded).toMatchObject({ code: 0 });
  await rm(path);
  expect(JSON.parse(uploaded.stdout)).toMatchObject({ rows: file.rows, errors: 0 });

  const states = await untilAllEnded(database.sql);
  expect(states).toEqual({ completed: 2 * file.tenants.length });
  const [stored] = await database.sql`
    select count(*)::int as rows, trim_scale(sum(billed_cost))::text as cost from cost_records`;
  expect(stored).toEqual({ rows: file.rows, cost: file.billedCostUsd });
  const mixed = await database.sql`
    select from cost_records where sub_account_id is distinct from tenant_id`;
  expect(mixed).toHaveLength(0);
  const analysed = await database.sql<{ tenant_id: string }[]>`
    select distinct tenant_id from analyses`;
  expect(analysed.map((row) => row.tenant_id).toSorted()).toEqual(file.tenants);

  const ready = await fetch(`http://127.0.0.1:${web.PORT}/readyz`);
  expect([ready.status, await ready.text()]).toEqual([200, expect.any(String)]);
  const [verify, doctor] = await Promise.all([
    runCli(['budget', 'verify'], { env }),
    runCli(['doctor', '--json'], { env }),
  ]);
  expect(verify).toMatchObject({ code: 0 });
  const findings: { check: string; level: string; seen: string }[] = JSON.parse(doctor.stdout);
  expect(findings.filter(({ level }) => level === 'fail')).toEqual([]);
  expect(findings.find(({ check }) => check === 'workers')?.seen).toBe('2 running');
  const exits = await stopAll(fleet);
  const left = await database.sql`select from heartbeats`;
  expect(left).toHaveLength(0);
  return exits;
}

describe(`a fleet whose queues are in Postgres ingests ${fileTitle}`, () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await emptyDatabase();
  });
  afterAll(() => database.close());

  it('ends every job, stores every row exactly, and stops on SIGTERM', async () => {
    const exits = await ingestAndEnd(database, { DATABASE_URL: database.url });
    expect(exits).toEqual([0, 0, 0, 0]);
  }, 120_000);
});

describeOnRedis(`a fleet whose queues are in Redis ingests ${fileTitle}`, () => {
  let database: TestDatabase;
  let redis: TestRedis;
  beforeAll(async () => {
    [database, redis] = await Promise.all([emptyDatabase(), startRedis()]);
  });
  afterAll(async () => {
    await redis.stop();
    await database.close();
  });

  it('ends every job, stores every row exactly, and stops on SIGTERM', async () => {
    const env = { DATABASE_URL: database.url, REDIS_URL: redis.url };
    expect(await ingestAndEnd(database, env)).toEqual([0, 0, 0, 0]);
  }, 120_000);

  it('stops in time, with exit 0, while Redis is unreachable', async () => {
    const env = { DATABASE_URL: database.url, REDIS_URL: redis.url };
    const fleet = await Promise.all([
      startRole('scheduler', env),
      startRole('worker', env),
      startRole('web', { ...env, PORT: '0' }),
    ]);
    await redis.kill();
    expect(await stopAll(fleet)).toEqual([0, 0, 0]);
    await redis.start();
  }, 120_000);
});
