/**
 * Completion and pickup under pressure on the database: a transaction that is held open, readers with old snapshots,
 * more jobs than can be served, a burst. After each phase the fleet gets the first phase's load until nothing waits.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../../src/db/connect.ts';
import { cpuMs, cpuPerJob, readCpu, treeCpuMs } from './cpu.ts';
import { fleetEnvironment, openFleetDatabase, startFleet, tenants } from './fleet.ts';
import type { FleetDatabase, Setting } from './fleet.ts';
import { rounded } from './report.ts';
import type { Row, Section } from './report.ts';

const type = 'bench_work';
const offeredPerSecond = 800;
const calibrationJobs = 20_000;
const burstJobs = 100_000;
/** Jobs that are open in a fleet that keeps up. */
const fewOpen = offeredPerSecond / 2;
const hotTables = ['public.jobs', 'purser.waiting', 'purser.in_flight', 'purser.job_history'];
/** After that `purser doctor` names an open transaction. */
const doctorAfterMinutes = 5;

interface Producer {
  /** Jobs enqueued so far. */
  readonly sent: () => number;
  stop(): Promise<void>;
}

/** Offers jobs at a steady rate; one that cannot be kept is offered as fast as possible. */
function produce({ build }: Setting, { sql }: FleetDatabase, perSecond: number): Producer {
  let sent = 0;
  const over = new AbortController();
  const startedMs = performance.now();
  const work = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const due = Math.floor(((performance.now() - startedMs) * perSecond) / 1_000) - sent;
      const count = Math.min(500, due);
      if (count > 0) await build.enqueueMany(sql, requests(sent, count));
      sent += Math.max(0, count);
      if (due <= 500) await sleep(25);
    }
  };
  const ended = work();
  return {
    sent: () => sent,
    stop: async () => {
      over.abort();
      await ended;
    },
  };
}

const requests = (first: number, count: number) =>
  Array.from({ length: count }, (_, index) => ({
    tenantId: tenants[(first + index) % tenants.length] ?? '',
    jobType: type,
  }));

async function openJobs(sql: Sql): Promise<number> {
  const [row] = await sql<{ open: number }[]>`
    select (select count(*) from purser.waiting)::int + (select count(*) from purser.in_flight)::int as open`;
  return row?.open ?? 0;
}

/** Seconds until only as many jobs are open as in a fleet that keeps up. */
async function untilRecovered(sql: Sql): Promise<number> {
  const startedMs = performance.now();
  for (let calm = 0; calm < 3;) {
    calm = (await openJobs(sql)) <= fewOpen ? calm + 1 : 0;
    await sleep(500);
  }
  return (performance.now() - startedMs) / 1_000;
}

/** An open transaction with an id, and `scans` of the hot tables in it. Returns how to end it. */
async function holdTransaction(sql: Sql, scans: boolean): Promise<() => Promise<void>> {
  const session = await sql.reserve();
  await session`begin isolation level repeatable read`;
  await session`select pg_current_xact_id()`;
  const over = new AbortController();
  const scan = async (): Promise<void> => {
    while (!over.signal.aborted) {
      for (const table of hotTables) await session.unsafe(`select count(*) from ${table}`);
      await sleep(1_000);
    }
  };
  const scanning = scans ? scan() : Promise.resolve();
  return async () => {
    over.abort();
    await scanning;
    await session`rollback`;
    session.release();
  };
}

/** What `purser doctor` says of open transactions. */
async function doctorLine(setting: Setting, url: string): Promise<string> {
  const env = fleetEnvironment(setting, url, 'redis');
  const out = await new Promise<string>((resolve) => {
    const args = [join(setting.dist, 'cli', 'main.js'), 'doctor'];
    execFile(process.execPath, args, { env }, (_, stdout) => resolve(stdout));
  });
  return out.split('\n').find((line) => line.includes('open transactions')) ?? 'nothing';
}

export async function measurePressure(setting: Setting): Promise<Section> {
  const { minutes, phases, servers } = setting;
  const database = await openFleetDatabase(setting, 'pressure', 8);
  const { sql } = database;
  const fleet = await startFleet(setting, database, 'redis');
  const readers = {
    worker: () => cpuMs(fleet.workerPid),
    scheduler: () => cpuMs(fleet.schedulerPid),
    postgres: () => treeCpuMs(servers.postgresPid),
    redis: () => cpuMs(servers.redisPid),
  };
  const notes: string[] = [];
  const rows: Row[] = [];
  let clean: number | undefined;

  /** One phase, and the recovery after it. `press` returns what ends the pressure. */
  const phase = async (
    name: string,
    perSecond: number,
    press: () => Promise<() => Promise<void>> = async () => async () => {},
  ): Promise<void> => {
    if (clean !== undefined && phases?.includes(name) === false) return;
    const release = await press();
    const producer = produce(setting, database, perSecond);
    await sleep(2_000);
    const [from] = await sql<{ at: string; id: string }[]>`
      select clock_timestamp()::text as at, coalesce(max(id), 0)::text as id from jobs`;
    const before = readCpu(readers);
    const sentBefore = producer.sent();
    const startedMs = performance.now();
    await sleep(minutes * 60_000);
    const seconds = (performance.now() - startedMs) / 1_000;
    const offered = producer.sent() - sentBefore;
    const [done] = await sql<{ completed: number; p50: number; p99: number }[]>`
      select count(*)::int as completed,
        percentile_cont(0.5) within group (order by extract(epoch from started_at - created_at) * 1000) as p50,
        percentile_cont(0.99) within group (order by extract(epoch from started_at - created_at) * 1000) as p99
      from jobs where finished_at >= ${from?.at ?? ''}::text::timestamptz and outcome = 'completed'
        and finished_at < clock_timestamp()`;
    const completed = done?.completed ?? 0;
    const cpu = cpuPerJob(readers, before, completed);
    const [tables] = await sql<{ dead: number; mb: number }[]>`
      select sum(n_dead_tup)::int as dead, round(sum(pg_total_relation_size(relid)) / 1048576)::int as mb
      from pg_stat_user_tables where schemaname || '.' || relname in ('purser.waiting', 'purser.in_flight')`;
    if (name === 'held' && minutes >= doctorAfterMinutes) {
      await sleep(2_000);
      notes.push(`doctor: ${await doctorLine(setting, database.url)}`);
    }
    await release();
    await producer.stop();
    const steady = produce(setting, database, offeredPerSecond);
    const recoveredS = await untilRecovered(sql);
    await steady.stop();
    const rate = completed / seconds;
    clean ??= rate;
    rows.push({
      phase: name,
      'offered/s': Math.round(offered / seconds),
      'completed/s': Math.round(rate),
      'x clean': rounded(rate / clean, 2),
      'pickup p50 ms': Math.round(done?.p50 ?? 0),
      'p99 ms': Math.round(done?.p99 ?? 0),
      'dead rows': tables?.dead ?? 0,
      MB: tables?.mb ?? 0,
      'cpu/job': Object.values(cpu).reduce((sum, us) => sum + us, 0),
      'recovered after s': Math.round(recoveredS),
    });
  };

  try {
    const startedMs = performance.now();
    for (let done = 0; done < calibrationJobs; done += 500) {
      await setting.build.enqueueMany(sql, requests(done, 500));
    }
    while ((await openJobs(sql)) > 0) await sleep(50);
    const served = (calibrationJobs * 1_000) / (performance.now() - startedMs);
    await phase('clean', offeredPerSecond);
    await phase('held', offeredPerSecond, () => holdTransaction(sql, false));
    await phase('readers', offeredPerSecond, async () => {
      const ends = await Promise.all(Array.from({ length: 4 }, () => holdTransaction(sql, true)));
      return async () => {
        await Promise.all(ends.map((end) => end()));
      };
    });
    await phase('overload', 1.5 * served);
    await phase('burst', offeredPerSecond, async () => {
      for (let done = 0; done < burstJobs; done += 500) {
        await setting.build.enqueueMany(sql, requests(done, 500));
      }
      return async () => {};
    });
    await phase('clean again', offeredPerSecond);
  } finally {
    const codes = await fleet.stop();
    notes.push(`SIGTERM right after the last phase: exit codes ${codes.join(', ')}`);
    await database.close();
  }
  return {
    name: 'pressure',
    title: `jobs with a pause of 1 ms while something presses on the database, ${minutes} minutes a phase, queues in Redis`,
    rows,
    notes: [
      'held: a transaction with an id stays idle. readers: four REPEATABLE READ transactions count the hot tables each',
      `second. overload: 1.5 times what was served at first. burst: ${burstJobs} jobs at once. dead rows and MB: of waiting`,
      'and in_flight at the end of the phase. recovered: until fewer than half a second of jobs were open, three times.',
      'pickup: from the commit to the start of the attempt. cpu: microseconds of processor per job, all processes.',
      ...notes,
    ],
  };
}
