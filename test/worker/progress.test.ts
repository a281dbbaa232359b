/** A handler's progress is stored while it runs, and only with its own job. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { defineHandler } from '../../src/handlers/define.ts';
import { enqueue } from '../../src/jobs/enqueue.ts';
import { findJob } from '../../src/jobs/inspect.ts';
import { openFleet } from './fleet.ts';
import type { Fleet } from './fleet.ts';

let fleet: Fleet;
beforeAll(async () => {
  fleet = await openFleet(undefined);
  await fleet.test.sql`insert into tenants (id) values ('acme')`;
});
afterAll(() => fleet.close());

test('the newest report is stored with the running job, bounded, and removed when the job ends', async () => {
  let finish = (): void => {};
  const gate = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const handler = defineHandler({
    type: 'slow_work',
    timeoutMs: 60_000,
    maxAttempts: 1,
    payload: z.object({}),
    run: async ({ progress }) => {
      progress(0.2, 'early');
      progress(7, `late \u0000 ${'x'.repeat(2_000)}`);
      await gate;
      progress(Number.NaN);
    },
  });
  await fleet.startWorker([handler], { leaseMs: 1_000 });
  const { jobId } = await enqueue(fleet.test.sql, { tenantId: 'acme', jobType: 'slow_work' });
  const progress = async () => (await findJob(fleet.test.sql, jobId))?.progress;
  await expect.poll(progress, { timeout: 20_000 }).toMatchObject({ done: 1 });
  const note = (await progress())?.note ?? '';
  expect(note).toMatch(/^late \uFFFD x+/);
  expect(note.length).toBeLessThan(600);
  finish();
  await expect
    .poll(async () => (await findJob(fleet.test.sql, jobId))?.state, { timeout: 20_000 })
    .toBe('completed');
  expect(await progress()).toBeNull();
});
