import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineHandler } from '../../src/handlers/define.ts';
import type { Handler } from '../../src/handlers/define.ts';
import { listOldQueued, returnToPending } from '../../src/jobs/queued.ts';
import { createLogger } from '../../src/log.ts';
import { dispatchOnce } from '../../src/scheduler/dispatch-round.ts';
import { createRefusingQueues } from '../../src/scheduler/failing-tenants.ts';
import type { Fleet } from '../worker/fleet.ts';
import { openFleet } from '../worker/fleet.ts';
import {
  addJob,
  addJobType,
  begin,
  claim,
  eventually,
  finish,
  jobRow,
  untilState,
  historyOf,
} from '../jobs/job-steps.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { addTenant } from '../support/tenants.ts';

const ran: string[] = [];
const handler = defineHandler({
  type: 'test_step',
  timeoutMs: 20_000,
  maxAttempts: 1,
  payload: z.object({}),
  run: async ({ jobId }) => {
    ran.push(jobId);
  },
});

const other: Handler = { ...handler, type: 'other_step' };

describeOnRedis('dispatch to Redis', () => {
  let redis: TestRedis;
  let fleet: Fleet;
  let tenantId: string;
  beforeAll(async () => {
    redis = await startRedis();
    fleet = await openFleet(redis.url, false);
    await fleet.startWorker([handler, other]);
    tenantId = await addTenant(fleet.test.sql);
  });
  beforeEach(() => {
    ran.length = 0;
  });
  afterAll(async () => {
    await fleet.close();
    await redis.stop();
  });

  const dispatched = () =>
    eventually('the dispatch', () =>
      fleet.dispatch().then(
        (count) => (count > 0 ? count : undefined),
        () => undefined,
      ),
    );

  it('runs a job once whose entry was lost with all data of Redis', async () => {
    const jobId = await addJob(fleet.test.sql, tenantId);
    const [job] = await claim(fleet.test.sql);
    if (job === undefined) throw new Error('not claimed');
    await redis.kill();
    await redis.start();
    const lost = await eventually('Redis to answer', () =>
      fleet.transport.findLost([job]).catch(() => undefined),
    );
    expect(lost).toEqual([job]);
    const old = await listOldQueued(fleet.test.sql, -50_000);
    expect(await returnToPending(fleet.test.sql, old, 'queue entry lost')).toBe(1);
    await dispatched();
    await untilState(fleet.test.sql, jobId, 'completed');
    expect(ran).toEqual([jobId]);
  });

  it('claims nothing while Redis is away', async () => {
    await redis.kill();
    const jobId = await addJob(fleet.test.sql, tenantId);
    await expect(fleet.dispatch()).rejects.toMatchObject({ code: 'queue_store_away' });
    expect(await jobRow(fleet.test.sql, jobId)).toMatchObject({ state: 'pending' });
    await redis.start();
    await dispatched();
    await untilState(fleet.test.sql, jobId, 'completed');
    expect(ran).toEqual([jobId]);
  });

  it.each([
    ['out of memory', ['CONFIG', 'SET', 'maxmemory', '1'], ['CONFIG', 'SET', 'maxmemory', '0']],
    ['a read-only replica', ['REPLICAOF', '127.0.0.1', '1'], ['REPLICAOF', 'NO', 'ONE']],
  ])('claims nothing while Redis is %s', async (_, refuse, accept) => {
    const jobId = await addJob(fleet.test.sql, tenantId);
    await redis.command(...refuse);
    await sleep(1_100);
    await expect(fleet.dispatch()).rejects.toMatchObject({ code: 'queue_store_away' });
    expect(await jobRow(fleet.test.sql, jobId)).toMatchObject({ state: 'pending' });
    await redis.command(...accept);
    await dispatched();
    await untilState(fleet.test.sql, jobId, 'completed');
  });

  it.each(['wait', 'marker', 'events', 'meta'])(
    'dispatches the other job types while Redis refuses the entries of one (its key %s)',
    async (name) => {
      const { sql } = fleet.test;
      const queue = fleet.transport.queue('test_step');
      const key = queue.toKey(name);
      const type = name === 'meta' ? 'LPUSH' : 'SET';
      await redis.command('DEL', key);
      expect(await redis.command(type, key, 'x')).toMatch(/OK|:1/);
      const refused = await addJob(sql, tenantId);
      const taken = await addJob(sql, tenantId, { jobType: 'other_step' });
      expect(await fleet.dispatch()).toBe(1);
      expect(await jobRow(sql, refused)).toMatchObject({ state: 'pending' });
      await untilState(sql, taken, 'completed');
      await expect(fleet.dispatch()).rejects.toMatchObject({
        code: 'queue_refuses_entries',
        message: expect.stringMatching(/the queues? of test_step .*WRONGTYPE/),
      });
      await redis.command('DEL', key);
      await dispatched();
      await untilState(sql, refused, 'completed');
    },
  );

  it('leaves a queue that refused its entries alone for a while', async () => {
    const { transport, backend, metrics, database } = fleet;
    const events: string[] = [];
    const log = createLogger({
      level: 'error',
      role: 'test',
      destination: { write: (line) => void events.push(line) },
    });
    const refusing = createRefusingQueues(log);
    const options = { sql: database.system, backend, transport, metrics, log: silentLog, refusing };
    const key = transport.queue('test_step').toKey('wait');
    await redis.command('DEL', key);
    await redis.command('SET', key, 'x');
    const jobId = await addJob(fleet.test.sql, tenantId);
    await expect(dispatchOnce(options)).rejects.toMatchObject({ code: 'queue_refuses_entries' });
    const before = await historyOf(fleet.test.sql, jobId);
    expect(await dispatchOnce(options)).toBe(0);
    expect(await historyOf(fleet.test.sql, jobId)).toEqual(before);
    expect(events).toEqual([expect.stringContaining('dispatch_queue_skipped')]);
    await redis.command('DEL', key);
    await dispatched();
    await untilState(fleet.test.sql, jobId, 'completed');
  });

  it('finds the lost entries of the other job types while Redis refuses to read one', async () => {
    const queue = fleet.transport.queue('unread_step');
    const unread = { jobId: '1', jobType: 'unread_step', entryId: randomUUID() };
    const lost = { jobId: '2', jobType: 'other_step', entryId: randomUUID() };
    await fleet.transport.add([unread]);
    await redis.command('DEL', queue.toKey('wait'));
    await redis.command('SET', queue.toKey('wait'), 'x');
    expect(await fleet.transport.findLost([unread, lost])).toEqual([lost]);
  });

  it('reports that Redis is away when a job waits, also without a live worker', async () => {
    const lonely = await openFleet(redis.url, false);
    const { sql } = lonely.test;
    await addJobType(sql);
    await redis.kill();
    expect(await lonely.dispatch()).toBe(0);
    await addJob(sql, await addTenant(sql));
    await expect(lonely.dispatch()).rejects.toMatchObject({ code: 'queue_store_away' });
    await redis.start();
    await lonely.close();
  });
});

describe('entries', () => {
  let fleet: Fleet;
  beforeAll(async () => {
    fleet = await openFleet(undefined, false);
  });
  afterAll(() => fleet.close());

  it('have an id of their own per dispatch: adding the same dispatch twice makes one entry', async () => {
    const { sql } = fleet.test;
    await addJobType(sql);
    const jobId = await addJob(sql, await addTenant(sql));
    const [first] = await claim(sql);
    if (first === undefined) throw new Error('not claimed');
    await fleet.transport.add([first]);
    await fleet.transport.add([first]);
    expect(await fleet.transport.queue('test_step').count()).toBe(1);
    await finish(sql, await begin(sql, first), { toState: 'pending', countsAttempt: false });
    const [second] = await claim(sql);
    if (second === undefined) throw new Error('not claimed');
    await fleet.transport.add([second]);
    expect(second.entryId).not.toBe(first.entryId);
    expect(await fleet.transport.queue('test_step').count()).toBe(2);
    // Both entries are taken; only the newer one begins anything.
    await fleet.startWorker([handler]);
    await untilState(sql, jobId, 'completed');
    expect(ran.filter((id) => id === jobId)).toHaveLength(1);
    expect((await jobRow(sql, jobId)).attempt).toBe(1);
  });
});
