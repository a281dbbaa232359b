/**
 * Server time of the pages of the console with 1,000,000 jobs, 100,000 of them dead letters, and 5,000,000 LLM calls: wall
 * time of a request and the processor time of its database sessions. The first request of a page is on connections that
 * have not run its statements; for a cold one the buffers of Postgres are emptied (not the cache of the system).
 * Usage: npm run bench:console -- [--jobs N] [--calls N] [--runs N] [--cold N]
 */
import { payloadDoor } from '../src/cli/runtime/payload-door.ts';
import { loadKeyConfig } from '../src/config.ts';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { connect } from '../src/db/connect.ts';
import type { Sql } from '../src/db/connect.ts';
import { openDatabase } from '../src/db/database.ts';
import { createLogger } from '../src/log.ts';
import { createMetrics } from '../src/metrics.ts';
import { openQueueBackend } from '../src/queues/backend.ts';
import { createTransport } from '../src/queues/transport.ts';
import { createWebApp } from '../src/web/app.ts';
import { startBenchPostgres } from './budget/server.ts';
import { fillMoney, fillOperations } from './console/fill-money.ts';
import { fillJobs } from './console/fill.ts';
import { batchOfAll, pathsOf } from './console/paths.ts';

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '1000000' },
    calls: { type: 'string', default: '5000000' },
    runs: { type: 'string', default: '20' },
    cold: { type: 'string', default: '5' },
  },
});
const credentials = { user: 'bench', password: 'a password of the bench' };

async function main(): Promise<void> {
  const server = await startBenchPostgres({ fsync: 'off', shared_buffers: '512MB' });
  try {
    const url = await server.database('console');
    const sql = connect(url, { max: 1, applicationName: 'purser bench' });
    const jobs = Number(values.jobs);
    const filled = await fillJobs(sql, jobs);
    await fillMoney(sql, { jobs, calls: Number(values.calls) });
    await fillOperations(sql);
    await sql`vacuum analyze`;
    console.log('filled:', filled, `and ${values.calls} calls`);
    const admin = connect(server.adminUrl('console'), { max: 1, applicationName: 'purser bench' });
    await admin`create extension pg_buffercache`;
    await measure({ url, sql, admin, runs: Number(values.runs), coldRuns: Number(values.cold) });
    await admin.end({ timeout: 5 });
    await sql.end({ timeout: 5 });
  } finally {
    await server.stop();
  }
}

/** User and system time of the sessions of the web role so far, in ms. */
async function sessionMs(sql: Sql): Promise<number> {
  const sessions = await sql<{ pid: number }[]>`
    select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`;
  const ticks = sessions.map(({ pid }) => {
    try {
      const [, , , , , , , , , , , , , user = '0', system = '0'] = readFileSync(
        `/proc/${pid}/stat`,
        'utf8',
      )
        .replace(/\(.*\)/, 'x')
        .split(' ');
      return Number(user) + Number(system);
    } catch {
      return 0;
    }
  });
  return ticks.reduce((sum, each) => sum + each, 0) * 10;
}

interface Measured {
  readonly url: string;
  readonly sql: Sql;
  /** As the superuser. */
  readonly admin: Sql;
  readonly runs: number;
  readonly coldRuns: number;
}

const at = (times: readonly number[], share: number): string => {
  const sorted = times.toSorted((one, other) => one - other);
  return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(0);
};

async function measure({ url, sql, admin, runs, coldRuns }: Measured): Promise<void> {
  const log = createLogger({ level: 'error', role: 'web' });
  const database = await openDatabase({
    url,
    applicationName: 'purser web',
    systemConnections: 4,
    tenantConnections: 1,
  });
  const backend = openQueueBackend({
    databaseUrl: url,
    redisUrl: undefined,
    applicationName: 'purser web',
    workers: 0,
    fleetId: database.fleetId,
    log,
  });
  const app = createWebApp({
    database,
    backend,
    transport: createTransport(backend),
    jobTypes: () => Promise.resolve([]),
    credentials,
    payloads: payloadDoor(
      { ...loadKeyConfig({}), PURSER_HANDLERS: undefined, PURSER_BUILTINS: [] },
      database.system,
    ),
    metrics: createMetrics(),
    log,
    version: 'bench',
  });
  const authorization = `Basic ${Buffer.from(`${credentials.user}:${credentials.password}`).toString('base64')}`;
  const ask = async (path: string): Promise<number> => {
    const startedAt = performance.now();
    const answer = await app.fetch(
      new Request(`http://localhost${path}`, { headers: { authorization, accept: 'text/html' } }),
      {},
    );
    await answer.text();
    if (answer.status !== 200) throw new Error(`${path}: ${answer.status}`);
    return performance.now() - startedAt;
  };
  await ask('/audit');
  const batchId = await batchOfAll(database.system);
  console.log(
    'path | first ms | cold p95 ms | warm p50 ms | warm p95 ms | database CPU ms per request',
  );
  for (const path of await pathsOf(sql, batchId)) {
    const first = await ask(path);
    const cold: number[] = [];
    for (let run = 0; run < coldRuns; run += 1) {
      await admin`select pg_buffercache_evict_all()`;
      cold.push(await ask(path));
    }
    const before = await sessionMs(sql);
    const times: number[] = [];
    for (let run = 0; run < runs; run += 1) times.push(await ask(path));
    const cpu = ((await sessionMs(sql)) - before) / runs;
    console.log(
      `${path} | ${first.toFixed(0)} | ${at(cold, 0.95)} | ${at(times, 0.5)} | ${at(times, 0.95)} | ${cpu.toFixed(0)}`,
    );
  }
  await backend.close();
  await database.close();
}

await main();
