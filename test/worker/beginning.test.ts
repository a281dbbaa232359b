/** A worker that stops while a job begins waits for the begin, and hands that job back too. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { defineHandler } from '../../src/handlers/define.ts';
import { enqueue } from '../../src/jobs/enqueue.ts';
import { historyOf, jobRow } from '../jobs/job-steps.ts';
import { untilWaiting } from '../support/holds.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { openFleet } from './fleet.ts';

/** Attempts counted, losses and history of a job whose worker was told to stop while it began. */
async function stopWhileBeginning(redisUrl: string | undefined) {
  const fleet = await openFleet(redisUrl);
  try {
    const { sql } = fleet.test;
    await sql`insert into tenants (id) values ('acme')`;
    await sql.unsafe(`
      create function public.purser_test_hold() returns trigger language plpgsql as $$
      begin perform pg_advisory_xact_lock_shared(7002); return new; end $$;
      create trigger purser_test_hold before update of token on purser.in_flight
      for each row execute function public.purser_test_hold()`);
    const handler = defineHandler({
      type: 'until_aborted',
      timeoutMs: 60_000,
      maxAttempts: 3,
      payload: z.object({}),
      run: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
        }),
    });
    const worker = await fleet.startWorker([handler], { shutdownGraceMs: 700 });
    let stopped: Promise<void> | undefined;
    let jobId = '';
    await fleet.database.system.begin(async (tx) => {
      // Nobody begins while this lock is held; the entry is taken all the same.
      await tx`select pg_advisory_xact_lock(7002)`;
      ({ jobId } = await enqueue(sql, { tenantId: 'acme', jobType: 'until_aborted' }));
      await untilWaiting(sql, 1);
      stopped = worker.stop();
    });
    await stopped;
    const { attempt, losses } = await jobRow(sql, jobId);
    return { attempt, losses, history: await historyOf(sql, jobId) };
  } finally {
    await fleet.close();
  }
}

const handedBack = {
  attempt: 0,
  losses: 0,
  history: expect.arrayContaining(['queued>running', 'running>pending']),
};

it('is handed back uncounted after it began, with the queues in Postgres', async () => {
  expect(await stopWhileBeginning(undefined)).toMatchObject(handedBack);
});

describeOnRedis('with the queues in Redis', () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.stop());

  it('is handed back uncounted after it began', async () => {
    expect(await stopWhileBeginning(redis.url)).toMatchObject(handedBack);
  });
});
