/** What another tenant's job waits beside a million jobs of one tenant, and what these take in Redis. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Sql } from '../../src/db/connect.ts';
import { openFleetDatabase, startFleet, tenants } from '../jobs/fleet.ts';
import type { FleetDatabase, Setting } from '../jobs/fleet.ts';
import { quantile, rounded } from '../jobs/report.ts';
import type { Row, Section } from '../jobs/report.ts';
import { addFlood, arrivalsOf, jobMs, measureWaits, type, verdict, waits } from './turns.ts';

const backlogJobs = 1_000_000;
const insertedTogether = 100_000;
const measuredJobs = 100;
const withinMs = 15_000;
const settleMs = 5_000;
const seed = 1_234;
const [flooder = '', other = ''] = tenants;

/** By plain inserts: a million enqueues would take longer than what is measured. */
async function insertBacklog(sql: Sql): Promise<void> {
  for (let done = 0; done < backlogJobs; done += insertedTogether) {
    await sql`
      with made as (
        insert into jobs (tenant_id, job_type, max_attempts)
        select ${flooder}, ${type}, 3 from generate_series(1, ${insertedTogether}) returning id)
      insert into purser.waiting (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at, payload_bytes)
      select id, ${flooder}, ${type}, 0, now(), now() + interval '1 day', 2 from made`;
  }
}

async function redisFootprint(url: string): Promise<{ keys: number; memoryKb: number }> {
  const redis = new Redis(url);
  try {
    const used = /used_memory:(\d+)/.exec(await redis.info('memory'))?.[1] ?? '0';
    return { keys: await redis.dbsize(), memoryKb: Math.round(Number(used) / 1024) };
  } finally {
    redis.disconnect();
  }
}

/** Milliseconds from the begin of a job's transaction to that of the dispatch that took it, by the clock of Postgres. */
async function dispatchLatencies(sql: Sql, afterId: bigint): Promise<number[]> {
  const rows = await sql<{ ms: number }[]>`
    select extract(epoch from queued_at - created_at)::float8 * 1000 as ms from jobs
    where tenant_id = ${other} and id > ${String(afterId)}::bigint and outcome = 'completed'`;
  return rows.map(({ ms }) => ms);
}

interface Phase {
  readonly row: Row;
  readonly p95: number;
}

async function phase(setting: Setting, database: FleetDatabase, waiting: number): Promise<Phase> {
  const { sql } = database;
  const before = await redisFootprint(setting.servers.redisUrl);
  const [last] = await sql<{ id: string }[]>`select coalesce(max(id), 0)::text as id from jobs`;
  const started = await measureWaits(
    setting,
    database,
    arrivalsOf([other], measuredJobs, withinMs, seed),
  );
  const dispatched = await dispatchLatencies(sql, BigInt(last?.id ?? 0));
  const at = (share: number): number => rounded(quantile(dispatched, share), 1);
  const start = waits(started);
  const row = {
    waiting,
    jobs: measuredJobs,
    'dispatched p50': at(0.5),
    'dispatched p95': at(0.95),
    'dispatched max': at(1),
    'started p50': start.p50,
    'started p95': start.p95,
    'Redis keys': before.keys,
    'Redis KiB': before.memoryKb,
  };
  return { row, p95: at(0.95) };
}

export async function measureBacklog(setting: Setting): Promise<Section> {
  const database = await openFleetDatabase(setting, 'fairness_backlog', 8);
  const fleet = await startFleet(setting, database, 'redis');
  try {
    await addFlood(setting, database, flooder, 200);
    await sleep(settleMs);
    const empty = await phase(setting, database, 0);
    await insertBacklog(database.sql);
    await sleep(settleMs);
    const full = await phase(setting, database, backlogJobs);
    return {
      name: 'backlog',
      title: "ms until another tenant's new job is dispatched and until its handler starts",
      rows: [empty.row, full.row],
      notes: [
        verdict('dispatched', full.p95, empty.p95),
        `${setting.concurrency} slots, jobs of ${jobMs} ms; the fleet works on the backlog meanwhile.`,
        'Redis: before each phase; of the second one with the backlog there.',
      ],
    };
  } finally {
    await fleet.stop();
    await database.close();
  }
}
