/** An enqueue ends the pause of a dispatcher that found nothing. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { z } from 'zod';
import type { Sql } from '../../src/db/connect.ts';
import type { Database } from '../../src/db/database.ts';
import { defineHandler } from '../../src/handlers/define.ts';
import { enqueueMany } from '../../src/jobs/enqueue.ts';
import { dispatchChannel, lookForWork } from '../../src/jobs/dispatch.ts';
import { pauseWork, resumeWork } from '../../src/jobs/pauses.ts';
import { createMetrics } from '../../src/metrics.ts';
import { startScheduler } from '../../src/scheduler/scheduler.ts';
import type { SchedulerService } from '../../src/scheduler/scheduler.ts';
import { addJob, eventually, step, untilState } from '../jobs/job-steps.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from '../worker/fleet.ts';
import type { Fleet } from '../worker/fleet.ts';

let fleet: Fleet;
let sql: Sql;
let tenantId: string;
beforeAll(async () => {
  fleet = await openFleet(undefined, false);
  ({ sql } = fleet.test);
  const handler = defineHandler({
    type: step,
    timeoutMs: 10_000,
    maxAttempts: 3,
    payload: z.object({}),
    run: async () => {},
  });
  await fleet.startWorker([handler]);
  tenantId = await addTenant(sql);
  // Ticks would notify, too.
  await sql`update tenant_schedules set enabled = false`;
});
afterAll(() => fleet.close());

let scheduler: SchedulerService | undefined;
let own: Database;
beforeEach(async () => {
  own = await fleet.test.open({ systemConnections: 2 });
});
afterEach(async () => {
  await scheduler?.stop();
  scheduler = undefined;
  await own.close();
});

/** One that sleeps for longer than a test lasts, unless it is woken. */
function sleeperOf(listens: boolean): SchedulerService {
  return startScheduler({
    sql: own.system,
    backend: fleet.backend,
    transport: fleet.transport,
    log: silentLog,
    metrics: createMetrics(),
    leaseMs: 30_000,
    reconcileAfterMs: 10_000,
    dispatchEveryMs: 600_000,
    onNotify: listens ? own.onNotify : undefined,
    more: [],
    process: { processId: 'scheduler-x', version: '0', hostname: 'x', pid: 1 },
  });
}

async function startSleeper(listens: boolean): Promise<void> {
  scheduler = sleeperOf(listens);
  await untilState(sql, await addJob(sql, tenantId), 'completed');
  // It looks by itself for a second after it found work, and says so at each look that finds some.
  await eventually('it to sleep', async () => {
    const [row] = await sql<{ sleeps: boolean }[]>`
      select awake_until < now() - interval '1500 milliseconds' as sleeps from purser.dispatcher`;
    return row?.sleeps === true ? true : undefined;
  });
}

it('a dispatcher that finds nothing is woken by a job', async () => {
  await startSleeper(true);
  const job = await untilState(sql, await addJob(sql, tenantId), 'completed');
  expect(job.attempt).toBe(1);
});

it('a dispatcher that finds nothing is woken by jobs that are enqueued together', async () => {
  await startSleeper(true);
  const many = Array.from({ length: 3 }, () => ({ tenantId, jobType: step }));
  const enqueued = await enqueueMany(sql, many);
  expect(enqueued).toHaveLength(3);
  for (const { jobId } of enqueued) await untilState(sql, jobId, 'completed');
});

it('a dispatcher that finds nothing is woken by the end of a pause', async () => {
  const pause = { scope: 'job_type', name: step } as const;
  await pauseWork(sql, { ...pause, reason: 'test', by: 'test' });
  try {
    const waiting = await addJob(sql, tenantId);
    scheduler = sleeperOf(true);
    // It has looked, and found only what is paused.
    await eventually('it to look', async () => {
      const [row] = await sql<{ looked: boolean }[]>`
        select awake_until > '-infinity' and awake_until < now() - interval '1500 milliseconds' as looked
        from purser.dispatcher`;
      return row?.looked === true ? true : undefined;
    });
    await resumeWork(sql, pause);
    const job = await untilState(sql, waiting, 'completed');
    expect(job.attempt).toBe(1);
  } finally {
    await resumeWork(sql, pause);
  }
});

it('without listening, or for a job that is not due, it is not woken', async () => {
  await startSleeper(false);
  const waiting = await addJob(sql, tenantId);
  const heard: string[] = [];
  await own.system.listen(dispatchChannel, (text) => heard.push(text));
  await addJob(sql, tenantId, { runAt: new Date(Date.now() + 3_600_000) });
  // While a dispatcher looks by itself, nobody is notified.
  expect((await lookForWork(sql, 600_000)).jobTypes).toEqual([step]);
  await addJob(sql, tenantId);
  await sql`select pg_notify(${dispatchChannel}, 'awake until here')`;
  await sql`update purser.dispatcher set awake_until = '-infinity'`;
  await addJob(sql, tenantId);
  await eventually('the notifications', async () => (heard.length > 1 ? true : undefined));
  // A dispatcher whose row was lost counts as asleep.
  await sql`delete from purser.dispatcher`;
  await addJob(sql, tenantId);
  await sql`insert into purser.dispatcher default values`;
  await eventually('the notifications', async () => (heard.length > 2 ? true : undefined));
  expect(heard).toEqual(['awake until here', '', '']);
  const [row] = await sql`select state from background_jobs where id = ${waiting}`;
  expect(row).toEqual({ state: 'pending' });
});
