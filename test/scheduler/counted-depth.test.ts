/** How many jobs are in a queue is counted in the database: the queue store may have lost entries, or hold stale ones. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { writeHeartbeat } from '../../src/db/heartbeats.ts';
import { enqueueMany } from '../../src/jobs/enqueue.ts';
import { dispatchOnce } from '../../src/scheduler/dispatch-round.ts';
import { QueueDepths } from '../../src/scheduler/queue-depths.ts';
import { addJobType, begin, step } from '../jobs/job-steps.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from '../worker/fleet.ts';
import type { Fleet } from '../worker/fleet.ts';

const slots = 5;
const depth = 2 * slots;

describeOnRedis('the depth of a queue', () => {
  let redis: TestRedis;
  let fleet: Fleet;
  beforeAll(async () => {
    redis = await startRedis();
    fleet = await openFleet(redis.url, false);
    await addJobType(fleet.test.sql);
  });
  afterAll(async () => {
    await fleet.close();
    await redis.stop();
  });

  it('is that of its jobs in the database, whatever the queue store holds', async () => {
    const { backend, database, metrics, transport } = fleet;
    const sql = database.system;
    const depths = new QueueDepths();
    const dispatch = () =>
      dispatchOnce({ sql, backend, transport, metrics, log: silentLog, depths });
    const beat = () =>
      writeHeartbeat(sql, {
        processId: 'worker-1',
        version: '0',
        hostname: 'x',
        pid: 1,
        role: 'worker',
        jobTypes: [step],
        typeSlots: [slots],
        slots,
        running: 0,
        progressedAt: new Date(),
        metrics: [],
      });
    const tenantId = await addTenant(sql);
    await enqueueMany(
      sql,
      Array.from({ length: 100 }, () => ({ tenantId, jobType: step })),
    );
    await beat();
    expect(await dispatch()).toBe(depth);
    // All entries are gone, and all jobs are still queued.
    await redis.command('FLUSHALL');
    expect(await dispatch()).toBe(0);
    // They have begun, and nothing was taken from the queue.
    const queued = await sql<{ jobId: string; entryId: string }[]>`
      select job_id as "jobId", entry_id as "entryId" from purser.in_flight`;
    for (const job of queued) await begin(sql, job);
    await beat();
    // More than before, if they began fast.
    expect(await dispatch()).toBeGreaterThanOrEqual(depth);
    expect(await dispatch()).toBe(0);
  });
});
