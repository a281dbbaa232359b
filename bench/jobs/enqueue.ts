/**
 * Jobs accepted per second: Purser's insert into Postgres, on disk before it is answered, against BullMQ's add to a
 * Redis without persistence. No worker runs.
 */
import { openFleetDatabase, tenants } from './fleet.ts';
import type { FleetDatabase, Setting } from './fleet.ts';
import { openPlainQueue } from './plain.ts';
import type { PlainQueue } from './plain.ts';
import { median, rounded, spread } from './report.ts';
import type { Row, Section } from './report.ts';

const sampleMs = 400;
const bulk = 500;
const manyInFlight = 16;
const type = 'bench_noop';
const payload = { invoice: 4711, file: 'invoices/2026/4711.pdf' };
const tenantId = tenants[0] ?? '';

interface Mode {
  readonly how: string;
  readonly inFlight: number;
  readonly jobsPerCall: number;
  readonly purser: () => Promise<unknown>;
  readonly plain: () => Promise<unknown>;
  /** What any job in Postgres costs at least: one narrow row and a commit. */
  readonly insert?: () => Promise<unknown>;
}

export async function measureEnqueue(setting: Setting): Promise<Section> {
  const database = await openFleetDatabase(setting, 'enqueue_purser', manyInFlight);
  const plainQueue = await openPlainQueue(setting, 'enqueue_plain', 'redis');
  await database.sql`
    create table bench_orders (id bigint generated always as identity primary key, note text not null)`;
  try {
    const rows: Row[] = [];
    for (const mode of modesOf(setting, database, plainQueue)) {
      const purser: number[] = [];
      const plain: number[] = [];
      const insert: number[] = [];
      const sides = [
        { call: mode.purser, samples: purser },
        { call: mode.plain, samples: plain },
        ...(mode.insert === undefined ? [] : [{ call: mode.insert, samples: insert }]),
      ];
      for (const { call } of sides) await perSecond(mode, call);
      for (let round = 0; round < setting.rounds; round += 1) {
        const order = round % 2 === 0 ? sides : sides.toReversed();
        for (const { call, samples } of order) samples.push(await perSecond(mode, call));
      }
      rows.push({
        how: mode.how,
        'in flight': mode.inFlight,
        ...spread('Purser/s', purser),
        'BullMQ/s': rounded(median(plain), 0),
        'BullMQ min': rounded(Math.min(...plain), 0),
        'BullMQ max': rounded(Math.max(...plain), 0),
        'x BullMQ': rounded(median(purser) / median(plain), 3),
        'insert/s': insert.length === 0 ? '' : rounded(median(insert), 0),
      });
    }
    return {
      name: 'enqueue',
      title: 'jobs accepted per second from one process, beside BullMQ on Redis',
      rows,
      notes: [
        `${setting.rounds} samples of ${sampleMs} ms each, alternating order; medians; 60 bytes of payload; one tenant.`,
        'insert: one row of one column into a table with one index, and its commit: what a job in Postgres costs at least.',
        'Transaction: an order is inserted and its job enqueued. Purser: both or neither. BullMQ: commit, then add;',
        'a crash in between loses the job, and an add before the commit runs a job whose order does not exist.',
      ],
    };
  } finally {
    await plainQueue.close();
    await database.close();
  }
}

function modesOf({ build }: Setting, { sql }: FleetDatabase, { queue }: PlainQueue): Mode[] {
  const request = { tenantId, jobType: type, payload };
  const requests = Array.from({ length: bulk }, () => request);
  const entries = Array.from({ length: bulk }, () => ({ name: type, data: payload }));
  const single = {
    purser: () => build.enqueue(sql, request),
    plain: () => queue.add(type, payload),
    insert: () => sql`insert into bench_orders (note) values ('bench')`,
  };
  const transaction = {
    purser: () =>
      sql.begin(async (tx) => {
        await tx`insert into bench_orders (note) values ('bench')`;
        await build.enqueue(tx, request);
      }),
    plain: async () => {
      await sql.begin(async (tx) => {
        await tx`insert into bench_orders (note) values ('bench')`;
      });
      await queue.add(type, payload);
    },
  };
  return [
    { how: 'single', inFlight: 1, jobsPerCall: 1, ...single },
    { how: 'single', inFlight: manyInFlight, jobsPerCall: 1, ...single },
    {
      how: `bulk of ${bulk}`,
      inFlight: 1,
      jobsPerCall: bulk,
      purser: () => build.enqueueMany(sql, requests),
      plain: () => queue.addBulk(entries),
    },
    { how: 'transaction', inFlight: 1, jobsPerCall: 1, ...transaction },
    { how: 'transaction', inFlight: manyInFlight, jobsPerCall: 1, ...transaction },
  ];
}

/** Calls repeatedly for the length of a sample; a call that has begun is completed and counted. */
async function perSecond(
  { inFlight, jobsPerCall }: Mode,
  call: () => Promise<unknown>,
): Promise<number> {
  let calls = 0;
  const startedMs = performance.now();
  const client = async (): Promise<void> => {
    while (performance.now() - startedMs < sampleMs) {
      await call();
      calls += 1;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, client));
  return (calls * jobsPerCall * 1000) / (performance.now() - startedMs);
}
