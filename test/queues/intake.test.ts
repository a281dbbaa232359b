/** A worker that takes nothing from a queue in which work waits for it is a silent stop; any other quiet is not. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startLoop } from '../../src/loop.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import type { QueueBackend } from '../../src/queues/backend.ts';
import { IntakeWatch } from '../../src/queues/intake.ts';
import { createTransport } from '../../src/queues/transport.ts';
import type { Transport } from '../../src/queues/transport.ts';
import { SilentStops } from '../../src/silent-stop.ts';
import { collectingLog } from '../support/collecting-log.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { tickMs, untilMissed } from '../support/watched-time.ts';

const limitMs = 600;
const patience = { interval: 20, timeout: 20_000 };

function describeIntake(redisUrl: () => string | undefined): void {
  let database: TestDatabase;
  let backend: QueueBackend;
  let transport: Transport;
  let names = 0;
  const closing: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    database = await freshDatabase();
    backend = openQueueBackend({
      redisUrl: redisUrl(),
      databaseUrl: database.url,
      workers: 8,
      fleetId: crypto.randomUUID(),
      applicationName: 'purser test intake',
      log: silentLog,
    });
    await backend.ready(10_000);
    transport = createTransport(backend);
  });
  afterEach(async () => {
    for (const close of closing.splice(0).toReversed()) await close();
  });
  afterAll(async () => {
    await transport.close();
    await backend.close();
    await database.close();
  });

  /** A worker of one place on a queue of its own, watched. */
  async function start(work: () => Promise<void> = () => Promise.resolve()) {
    names += 1;
    const jobType = `intake_${names}`;
    const { lines, log } = collectingLog();
    const silent: string[] = [];
    let room = true;
    let taken = 0;
    const silence = new SilentStops({ log, onSilent: (what) => silent.push(what), tickMs });
    const watch = new IntakeWatch({ silence, log, askEveryMs: 20, takesWithinMs: limitMs });
    const queue = transport.queue(jobType);
    const intake = watch.add(queue, { concurrency: 1, mayTake: () => room });
    const process = () => {
      taken += 1;
      return work();
    };
    const worker = backend.worker(jobType, () => intake.through(process), { concurrency: 1 });
    void worker.run();
    await worker.waitUntilReady();
    closing.push(
      () => Promise.resolve(silence.stop()),
      () => worker.close(true),
      () => watch.stop(),
    );
    const add = (from: number, count: number): Promise<void> =>
      transport.add(
        Array.from({ length: count }, (_, index) => ({
          jobId: String(from + index),
          jobType,
          dispatchNo: 1,
        })),
      );
    return {
      jobType,
      lines,
      silent,
      queue,
      worker,
      add,
      taken: () => taken,
      noRoom: () => {
        room = false;
      },
    };
  }

  it('tells of a worker that takes nothing while entries wait', async () => {
    const { jobType, lines, silent, worker, add } = await start();
    // As after a resume that was forgotten, or a connection that died unnoticed.
    await worker.pause(true);
    await add(1, 3);
    await expect.poll(() => silent, patience).toEqual([`taking from ${jobType}`]);
    expect(lines).toMatchObject([{ level: 'fatal', event: 'silent_stop' }]);
  });

  it('is content with a worker that works off a queue which never empties', async () => {
    const { silent, add, taken } = await start();
    let added = 0;
    const feed = startLoop({
      name: 'feed',
      everyMs: 5,
      log: silentLog,
      runOnce: async () => {
        if (added - taken() < 20) await add((added += 10), 10);
        return 0;
      },
    });
    await untilMissed(limitMs * 2);
    await feed.stop();
    expect(silent).toEqual([]);
    expect(taken()).toBeGreaterThan(1);
  });

  it('is content with an idle worker', async () => {
    const { silent } = await start();
    await untilMissed(limitMs * 2);
    expect(silent).toEqual([]);
  });

  it('is content with a worker that is full', async () => {
    let end = (): void => {};
    const { silent, add, taken } = await start(
      () =>
        new Promise((resolve) => {
          end = resolve;
        }),
    );
    await add(1, 3);
    await expect.poll(taken, patience).toBe(1);
    await untilMissed(limitMs * 2);
    expect(silent).toEqual([]);
    end();
  });

  it('is content with a process that has no room or leaves', async () => {
    const { silent, worker, add, noRoom } = await start();
    await worker.pause(true);
    noRoom();
    await add(1, 3);
    await untilMissed(limitMs * 2);
    expect(silent).toEqual([]);
  });

  it('is content with a queue that is paused', async () => {
    const { silent, queue, add, taken } = await start();
    await queue.pause();
    await add(1, 3);
    await untilMissed(limitMs * 2);
    expect(silent).toEqual([]);
    await queue.resume();
    await expect.poll(taken, patience).toBe(3);
  });
}

describe('intake from queues in Postgres', () => {
  describeIntake(() => undefined);
});

describeOnRedis('intake from queues in Redis', () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.stop());

  describeIntake(() => redis.url);

  it('is content while Redis is away, and with the worker that comes back', async () => {
    const backend = openQueueBackend({
      redisUrl: redis.url,
      databaseUrl: '',
      workers: 1,
      fleetId: crypto.randomUUID(),
      applicationName: 'purser test intake',
      log: silentLog,
    });
    await backend.ready(10_000);
    const transport = createTransport(backend);
    const { lines, log } = collectingLog();
    const silent: string[] = [];
    const silence = new SilentStops({ log, onSilent: (what) => silent.push(what), tickMs });
    const watch = new IntakeWatch({ silence, log, askEveryMs: 20, takesWithinMs: limitMs });
    const intake = watch.add(transport.queue('away'), { concurrency: 1, mayTake: () => true });
    let taken = 0;
    const process = () => Promise.resolve((taken += 1));
    const worker = backend.worker('away', () => intake.through(process), { concurrency: 1 });
    void worker.run();
    await worker.waitUntilReady();
    await redis.kill();
    await untilMissed(limitMs * 2);
    expect(silent).toEqual([]);
    expect(lines.filter(({ event }) => event === 'loop_failed').length).toBeGreaterThan(0);
    // It may take its time to come back: BullMQ pauses for seconds between its tries.
    silence.stop();
    await redis.start();
    const add = () =>
      transport.add([{ jobId: '1', jobType: 'away', dispatchNo: 1 }]).catch(() => {});
    await expect.poll(() => add().then(() => taken), patience).toBeGreaterThan(0);
    await watch.stop();
    await worker.close(true);
    await transport.close();
    await backend.close();
  });
});
