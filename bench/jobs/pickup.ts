/**
 * Pickup latency of an idle fleet: the time from the enqueue call of one job to the first line of its handler, at
 * random intervals of 0.2 s on average.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuMs, readCpu, treeCpuMs } from './cpu.ts';
import { openFleetDatabase, startFleet, tenants, untilNoVacuum } from './fleet.ts';
import type { FleetDatabase, Setting } from './fleet.ts';
import { openPlainQueue, plainSettings, startPlainWorker } from './plain.ts';
import type { PlainQueue, PlainWorker } from './plain.ts';
import { quantile, rounded } from './report.ts';
import type { Row, Section } from './report.ts';

const jobsPerRound = 20;
const gapMs = { least: 50, most: 350 };
const warmUpJobs = 5;
/** After the last job. The dispatch looks less often when nothing was enqueued for ten seconds. */
const quietMs = 15_000;
const idleForMs = 20_000;
const type = 'bench_stamp';

/** Latencies in ms of `count` jobs, one at a time. */
type Measure = (jobs: number) => Promise<number[]>;

const nowNs = (): bigint => process.hrtime.bigint();
const msBetween = (fromNs: bigint, toNs: bigint): number => Number(toNs - fromNs) / 1e6;
const gap = (): Promise<void> => sleep(gapMs.least + Math.random() * (gapMs.most - gapMs.least));

export async function measurePickup(setting: Setting): Promise<Section> {
  const database = await openFleetDatabase(setting, 'pickup_purser');
  const fleet = await startFleet(setting, database, 'redis');
  const plainQueue = await openPlainQueue(setting, 'pickup_plain', 'redis');
  const { url } = plainQueue;
  const { concurrency } = setting;
  const plainWorker = await startPlainWorker({
    queue: 'pickup_plain',
    store: 'redis',
    url,
    concurrency,
  });
  const idle = {
    worker: () => cpuMs(fleet.workerPid),
    scheduler: () => cpuMs(fleet.schedulerPid),
    postgres: () => treeCpuMs(setting.servers.postgresPid),
    redis: () => cpuMs(setting.servers.redisPid),
  };
  try {
    const sides = {
      Purser: purser(setting, database),
      BullMQ: plain(plainQueue, plainWorker),
    };
    const samples: Record<keyof typeof sides, number[]> = { Purser: [], BullMQ: [] };
    await sides.Purser(warmUpJobs);
    await sides.BullMQ(warmUpJobs);
    for (let round = 0; round < setting.rounds; round += 1) {
      const order =
        round % 2 === 0 ? (['Purser', 'BullMQ'] as const) : (['BullMQ', 'Purser'] as const);
      for (const side of order) samples[side].push(...(await sides[side](jobsPerRound)));
    }
    await sleep(quietMs);
    // Of the sections before.
    await untilNoVacuum(database.sql);
    const before = readCpu(idle);
    const startedMs = performance.now();
    await sleep(idleForMs);
    const wallMs = performance.now() - startedMs;
    const share = (name: keyof typeof idle): string =>
      `${((100 * (idle[name]() - (before[name] ?? 0))) / wallMs).toFixed(1)}%`;
    return {
      name: 'pickup',
      title:
        'ms from the enqueue call to the first line of the handler, idle fleet, queues in Redis',
      rows: [row('Purser', samples.Purser), row('BullMQ', samples.BullMQ)],
      notes: [
        `${setting.rounds} blocks of ${jobsPerRound} jobs each, alternating; ${gapMs.least} to ${gapMs.most} ms between two jobs.`,
        `BullMQ: ${plainSettings}.`,
        `An idle Purser takes of one core: worker ${share('worker')}, scheduler ${share('scheduler')}, its Postgres ${share('postgres')}, Redis ${share('redis')}.`,
      ],
    };
  } finally {
    await plainWorker.stop();
    await plainQueue.close();
    await fleet.stop();
    await database.close();
  }
}

function row(who: string, samples: readonly number[]): Row {
  const at = (share: number): number => rounded(quantile(samples, share), 1);
  return { who, jobs: samples.length, p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

function purser({ build }: Setting, { sql }: FleetDatabase): Measure {
  return async (jobs) => {
    const startedNs = new Map<string, bigint>();
    for (let index = 0; index < jobs; index += 1) {
      const tenantId = tenants[index % tenants.length] ?? '';
      const atNs = nowNs();
      const { jobId } = await build.enqueue(sql, { tenantId, jobType: type });
      startedNs.set(jobId, atNs);
      await gap();
    }
    for (;;) {
      const rows = await sql<{ id: string; at: string | null }[]>`
        select id, result->>'atNs' as at from background_jobs where id = any(${[...startedNs.keys()]}::bigint[])`;
      const taken = rows.flatMap(({ id, at }) =>
        at === null ? [] : [msBetween(startedNs.get(id) ?? 0n, BigInt(at))],
      );
      if (taken.length === jobs) return taken;
      await sleep(50);
    }
  };
}

function plain({ queue }: PlainQueue, worker: PlainWorker): Measure {
  return async (jobs) => {
    const startedNs: bigint[] = [];
    const taken: number[] = [];
    worker.onTaken((number, atNs) => taken.push(msBetween(startedNs[number] ?? 0n, atNs)));
    for (let number = 0; number < jobs; number += 1) {
      startedNs.push(nowNs());
      await queue.add(type, { number });
      await gap();
    }
    while (taken.length < jobs) await sleep(20);
    return taken;
  };
}
