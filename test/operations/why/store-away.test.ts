/** The queue store goes away under a real scheduler and a real worker: both say so, and it is the cause. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { defineHandler } from '../../../src/handlers/define.ts';
import { enqueue } from '../../../src/jobs/enqueue.ts';
import { why } from '../../../src/operations/why/why.ts';
import { startScheduler } from '../../../src/scheduler/scheduler.ts';
import type { SchedulerService } from '../../../src/scheduler/scheduler.ts';
import { untilState } from '../../jobs/job-steps.ts';
import { silentLog } from '../../support/llm-attempt.ts';
import { describeOnRedis, startRedis } from '../../support/redis.ts';
import type { TestRedis } from '../../support/redis.ts';
import { addTenant } from '../../support/tenants.ts';
import { openFleet } from '../../worker/fleet.ts';
import type { Fleet } from '../../worker/fleet.ts';

const wait = { timeout: 20_000, interval: 200 };
const type = 'store_away';

describeOnRedis('why, while Redis is away', () => {
  let redis: TestRedis;
  let fleet: Fleet;
  let scheduler: SchedulerService;
  beforeAll(async () => {
    redis = await startRedis();
    fleet = await openFleet(redis.url, false);
    const run = () => Promise.resolve();
    await fleet.startWorker([
      defineHandler({ type, timeoutMs: 1_000, maxAttempts: 3, payload: z.object({}), run }),
    ]);
    scheduler = startScheduler({
      sql: fleet.database.system,
      backend: fleet.backend,
      transport: fleet.transport,
      metrics: fleet.metrics,
      log: silentLog,
      leaseMs: 15_000,
      reconcileAfterMs: 60_000,
      more: [],
      process: { processId: 'scheduler-1', version: '1', hostname: 'host', pid: 1 },
    });
  });
  afterAll(async () => {
    await scheduler.stop();
    await fleet.close();
    await redis.stop();
  });

  it('names it for a job that waits, on the word of both, and no more once it is back', async () => {
    const sql = fleet.test.sql;
    const tenantId = await addTenant(sql);
    const done = await enqueue(sql, { tenantId, jobType: type });
    await untilState(sql, done.jobId, 'completed');
    await redis.kill();
    const { jobId } = await enqueue(sql, { tenantId, jobType: type });
    const first = async () => (await why(sql, { jobId })).causes[0]?.code;
    await expect.poll(first, wait).toBe('queue_store_away');
    const away = () => sql`
      select role from heartbeats where queue_store_away_at is not null order by role`;
    await expect.poll(away, wait).toEqual([{ role: 'scheduler' }, { role: 'worker' }]);
    await redis.start();
    await untilState(sql, jobId, 'completed');
    await expect.poll(away, wait).toEqual([]);
  });
});
