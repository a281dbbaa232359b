/** What tenants with few jobs wait while one has thousands: Purser, and plain BullMQ with one queue, in the same run. */
import { setTimeout as sleep } from 'node:timers/promises';
import { openFleetDatabase, startFleet, tenants } from '../jobs/fleet.ts';
import type { Setting } from '../jobs/fleet.ts';
import { openPlainQueue, plainSettings, startPlainWorker } from '../jobs/plain.ts';
import { rounded } from '../jobs/report.ts';
import type { Section } from '../jobs/report.ts';
import {
  addFlood,
  arrivalsOf,
  atTheirTimes,
  busyShare,
  completed,
  jobMs,
  measureWaits,
  msBetween,
  nowNs,
  type,
  verdict,
  waits,
} from './turns.ts';

const floodJobs = 20_000;
const each = 10;
const seed = 4711;
const settleMs = 2_000;
const aloneMs = 4_000;
const [flooder = '', ...nine] = tenants;
const others = [...nine, 'tenant-10'];

/** Jobs arrive within half of the time that the flood takes at least. */
const withinMs = ({ concurrency }: Setting): number => (floodJobs * jobMs) / concurrency / 2;

interface Waited {
  readonly without: readonly number[];
  readonly flooded: readonly number[];
  readonly busy?: number;
  /** Before the others come. */
  readonly busyAlone?: number;
}

async function purser(setting: Setting): Promise<Waited> {
  const database = await openFleetDatabase(setting, 'fairness_flood', 8);
  await database.sql`insert into tenants (id, plan) values ('tenant-10', 'enterprise')`;
  const fleet = await startFleet(setting, database, 'redis');
  const arrivals = arrivalsOf(others, each, withinMs(setting), seed);
  try {
    await addFlood(setting, database, flooder, 200);
    await sleep(settleMs);
    const without = await measureWaits(setting, database, arrivals);
    await addFlood(setting, database, flooder, floodJobs);
    await sleep(settleMs);
    const aloneNs = nowNs();
    await sleep(aloneMs);
    const fromNs = nowNs();
    const flooded = await measureWaits(setting, database, arrivals);
    const toNs = nowNs();
    const ran = await completed(database);
    const left = floodJobs + 200 - ran.filter(({ tenantId }) => tenantId === flooder).length;
    if (left <= 0) throw new Error('the flood ended before the other jobs did');
    return {
      without,
      flooded,
      busy: busyShare(ran, setting.concurrency, fromNs, toNs),
      busyAlone: busyShare(ran, setting.concurrency, aloneNs, fromNs),
    };
  } finally {
    await fleet.stop();
    await database.close();
  }
}

async function plain(setting: Setting): Promise<Waited> {
  const queueName = 'fairness_plain';
  const opened = await openPlainQueue(setting, queueName, 'redis');
  const worker = await startPlainWorker({
    queue: queueName,
    store: 'redis',
    url: opened.url,
    concurrency: setting.concurrency,
    pauseMs: jobMs,
  });
  const arrivals = arrivalsOf(others, each, withinMs(setting), seed);
  const phase = async (): Promise<number[]> => {
    const taken = new Map<number, bigint>();
    const answered = new Map<number, bigint>();
    worker.onTaken((number, atNs) => void taken.set(number, atNs));
    await atTheirTimes(arrivals, async (_, number) => {
      await opened.queue.add(type, { number });
      answered.set(number, nowNs());
    });
    while (taken.size < arrivals.length) await sleep(50);
    return [...answered].map(([number, atNs]) =>
      Math.max(0, msBetween(atNs, taken.get(number) ?? 0n)),
    );
  };
  try {
    const without = await phase();
    for (let done = 0; done < floodJobs; done += 500) {
      await opened.queue.addBulk(Array.from({ length: 500 }, () => ({ name: type, data: {} })));
    }
    await sleep(settleMs);
    return { without, flooded: await phase() };
  } finally {
    await worker.stop();
    await opened.close();
  }
}

export async function measureFlood(setting: Setting): Promise<Section> {
  const sides = { Purser: await purser(setting), 'BullMQ, one queue': await plain(setting) };
  const percent = (share: number | undefined): string =>
    share === undefined ? '' : `${rounded(100 * share, 1)} %`;
  const rows = Object.entries(sides).flatMap(([who, { without, flooded, busy, busyAlone }]) => [
    { who, flood: 'none', ...waits(without), 'slots busy': '', 'by the flood alone': '' },
    {
      who,
      flood: String(floodJobs),
      ...waits(flooded),
      'slots busy': percent(busy),
      'by the flood alone': percent(busyAlone),
    },
  ]);
  return {
    name: 'flood',
    title: `ms from commit to the start of the handler: ${others.length} tenants with ${each} jobs each, beside one with ${floodJobs}`,
    rows,
    notes: [
      ...Object.entries(sides).map(([who, { without, flooded }]) =>
        verdict(who, waits(flooded).p95, waits(without).p95),
      ),
      `${setting.concurrency} slots, jobs of ${jobMs} ms, arrivals at random within ${rounded(withinMs(setting) / 1_000, 1)} s (seed ${seed}), ${settleMs / 1_000} s after the flood.`,
      `BullMQ: ${plainSettings}.`,
    ],
  };
}
