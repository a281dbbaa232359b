/** A worker that is asked to stop while a job is just beginning waits for it, and hands it back as well. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { defineHandler } from '../../src/handlers/define.ts';
import { enqueue } from '../../src/jobs/enqueue.ts';
import { historyOf, jobRow } from '../jobs/job-steps.ts';
import { untilWaiting } from '../support/holds.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { openFleet } from './fleet.ts';

async function stopWhileBeginning(redisUrl: string | undefined): Promise<void> {
  const fleet = await openFleet(redisUrl);
  try {
    const { sql } = fleet.test;
    await sql`insert into tenants (id) values ('acme')`;
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
      // Nobody begins while the tokens are locked; the entry is taken all the same.
      await tx`lock table purser.context_tokens in share mode`;
      ({ jobId } = await enqueue(sql, { tenantId: 'acme', jobType: 'until_aborted' }));
      await untilWaiting(sql, 1);
      stopped = worker.stop();
    });
    await stopped;
    expect(await jobRow(sql, jobId)).toMatchObject({ attempt: 0, losses: 0 });
    expect(await historyOf(sql, jobId)).toContain('running>pending');
  } finally {
    await fleet.close();
  }
}

it('is handed back uncounted after it began, with the queues in Postgres', () =>
  stopWhileBeginning(undefined));

describeOnRedis('with the queues in Redis', () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.stop());

  it('is handed back uncounted after it began', () => stopWhileBeginning(redis.url));
});
