/** The slot of a job is free when its handler has ended: the next job runs while the end is stored. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { defineHandler } from '../../src/handlers/define.ts';
import { enqueueMany } from '../../src/jobs/enqueue.ts';
import { pauseWork, resumeWork } from '../../src/jobs/pauses.ts';
import { addJob, eventually, jobRow, step, untilState } from '../jobs/job-steps.ts';
import { addTenant } from '../support/tenants.ts';
import { RunningJobs } from '../../src/worker/running-jobs.ts';
import { openFleet } from './fleet.ts';
import type { Fleet } from './fleet.ts';

let fleet: Fleet;
beforeAll(async () => {
  fleet = await openFleet(undefined);
});
afterAll(() => fleet.close());

it('more jobs run while ends are stored, until too many wait or hold too much', () => {
  const running = new RunningJobs();
  for (let end = 0; end < 1_000; end += 1) running.countStoring(1, 1_000);
  expect(running.mayStoreMore).toBe(true);
  running.countStoring(1, 0);
  expect(running.mayStoreMore).toBe(false);
  running.countStoring(-1, 1_000);
  const mebibyte = 1024 * 1024;
  for (let end = 0; end < 100; end += 1) running.countStoring(-1, 1_000);
  for (let end = 0; end < 31; end += 1) running.countStoring(1, mebibyte);
  expect(running.mayStoreMore).toBe(true);
  running.countStoring(1, mebibyte);
  expect(running.mayStoreMore).toBe(false);
  running.countStoring(-1, mebibyte);
  expect(running.mayStoreMore).toBe(true);
});

it('a job runs in the only slot while the end of another waits for a lock', async () => {
  const { sql } = fleet.test;
  const ran: string[] = [];
  const handler = defineHandler({
    type: step,
    timeoutMs: 20_000,
    maxAttempts: 1,
    payload: z.object({}),
    run: async ({ jobId }) => {
      ran.push(jobId);
    },
  });
  await fleet.startWorker([handler], { concurrency: 1 });
  const tenantId = await addTenant(sql);
  // Once its run time is known as short, its jobs share an entry; one by itself keeps its entry until its end is stored.
  await untilState(sql, await addJob(sql, tenantId), 'completed');
  await eventually('its run time', async () => {
    const [beat] = await sql<{ known: boolean }[]>`
      select type_run_ms[1] is not null as known from heartbeats where role = 'worker'`;
    return beat?.known === true ? true : undefined;
  });
  const paused = { scope: 'job_type', name: step } as const;
  await pauseWork(sql, { ...paused, reason: 'test', by: 'test' });
  const request = { tenantId, jobType: step };
  const [held, next] = await enqueueMany(sql, [request, request]);
  if (held === undefined || next === undefined) throw new Error('not enqueued');
  await sql.begin(async (tx) => {
    await tx`select from jobs where id = ${held.jobId} for update`;
    await resumeWork(sql, paused);
    await untilState(sql, next.jobId, 'completed');
    expect(await jobRow(sql, held.jobId)).toMatchObject({ state: 'running' });
  });
  await untilState(sql, held.jobId, 'completed');
  expect(ran).toHaveLength(3);
});
