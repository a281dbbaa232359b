/** What a worker makes of queue entries with many jobs, with queues in either store. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineHandler } from '../../../src/handlers/define.ts';
import type { JobContext } from '../../../src/handlers/define.ts';
import { claimWaitingJobs } from '../../../src/jobs/dispatch.ts';
import type { WorkerService, WorkerServiceOptions } from '../../../src/worker/worker.ts';
import { addJob, eventually, jobRow, untilState } from '../../jobs/job-steps.ts';
import { addTenant } from '../../support/tenants.ts';
import type { Fleet } from '../fleet.ts';

type Run = (ctx: JobContext<unknown>) => Promise<unknown>;

const jobType = 'chunked_work';

export function describeChunks(open: () => Promise<Fleet>): void {
  let fleet: Fleet;
  let tenantId: string;
  let worker: WorkerService | undefined;
  const gate: { open: () => void; opened: Promise<void> } = {
    open: () => {},
    opened: Promise.resolve(),
  };
  const running = new Set<string>();
  let mostAtOnce = 0;
  let started: string[] = [];

  beforeAll(async () => {
    fleet = await open();
    tenantId = await addTenant(fleet.test.sql);
  });
  afterEach(async () => {
    gate.open();
    await worker?.stop();
    worker = undefined;
    started = [];
    mostAtOnce = 0;
  });
  afterAll(() => fleet.close());

  const tracked =
    (run: Run): Run =>
    async (ctx) => {
      started.push(ctx.jobId);
      running.add(ctx.jobId);
      mostAtOnce = Math.max(mostAtOnce, running.size);
      try {
        return await run(ctx);
      } finally {
        running.delete(ctx.jobId);
      }
    };

  async function start(
    run: Run,
    overrides: Partial<WorkerServiceOptions> = {},
    concurrency?: number,
  ): Promise<void> {
    const handler = defineHandler({
      type: jobType,
      timeoutMs: 20_000,
      maxAttempts: 1,
      payload: z.object({}),
      run: tracked(run),
      ...(concurrency === undefined ? {} : { concurrency }),
    });
    worker = await fleet.startWorker([handler], { concurrency: 4, ...overrides });
  }

  /** Entries of `chunk` jobs; the jobs' ids, in order. */
  async function addChunks(count: number, chunk: number): Promise<string[]> {
    const { sql } = fleet.test;
    for (let n = 0; n < count; n += 1) await addJob(sql, tenantId, { jobType });
    const jobs = await claimWaitingJobs(sql, [{ jobType, capacity: count, chunk }]);
    await fleet.transport.add(jobs);
    return jobs.map(({ jobId }) => jobId);
  }
  const closeGate = () => {
    gate.opened = new Promise((resolve) => {
      gate.open = resolve;
    });
  };
  const stateOf = async (jobId: string) => (await jobRow(fleet.test.sql, jobId)).state;
  const active = () => fleet.transport.queue(jobType).getActiveCount();

  describe('the jobs of an entry', () => {
    it('all run once, no more at once than the worker has slots', async () => {
      await start(async ({ attempt }) => attempt);
      const ids = await addChunks(30, 12);
      for (const jobId of ids) await untilState(fleet.test.sql, jobId, 'completed');
      expect(started.toSorted()).toEqual(ids.toSorted());
      expect(mostAtOnce).toBeLessThanOrEqual(4);
      await expect.poll(active).toBe(0);
    });

    it('run no more at once than their handler allows', async () => {
      await start(async () => 'ok', {}, 2);
      const ids = await addChunks(20, 20);
      for (const jobId of ids) await untilState(fleet.test.sql, jobId, 'completed');
      expect(mostAtOnce).toBeLessThanOrEqual(2);
    });

    it('that fail are no failure of the entry, and those that were cancelled are skipped', async () => {
      closeGate();
      await start(async ({ jobId }) => {
        if (jobId === started[0]) throw new Error('broken');
      });
      const { sql } = fleet.test;
      const ids = await addChunks(6, 6);
      const cancelled = ids[5] ?? '';
      await sql`
        update background_jobs set state = 'cancelled', finished_at = now() where id = ${cancelled} and state = 'queued'`;
      const states = async () => (await Promise.all(ids.map(stateOf))).toSorted();
      await eventually('their ends', async () =>
        (await states()).every((state) => state !== 'queued' && state !== 'running')
          ? true
          : undefined,
      );
      expect((await states()).filter((state) => state === 'dead_letter')).toHaveLength(1);
      expect(await fleet.transport.queue(jobType).getFailedCount()).toBe(0);
    });

    it('that cannot begin soon go back uncounted, and the others of the entry run on', async () => {
      closeGate();
      await start(() => gate.opened, { concurrency: 2 });
      const ids = await addChunks(5, 5);
      await eventually('three to go back', async () => {
        const states = await Promise.all(ids.map(stateOf));
        return states.filter((state) => state === 'pending').length === 3 ? true : undefined;
      });
      expect(started).toHaveLength(2);
      gate.open();
      for (const jobId of started) await untilState(fleet.test.sql, jobId, 'completed');
      const back = ids.filter((jobId) => !started.includes(jobId));
      for (const jobId of back) {
        expect(await jobRow(fleet.test.sql, jobId)).toMatchObject({ attempt: 0, losses: 0 });
      }
      await fleet.test.sql`delete from background_jobs where id = any(${back}::bigint[])`;
    });

    it('that have not begun go back at once when the worker stops', async () => {
      closeGate();
      await start(() => gate.opened, { concurrency: 2 });
      const ids = await addChunks(8, 8);
      await eventually('two to run', () =>
        Promise.resolve(started.length === 2 ? true : undefined),
      );
      const stopped = worker?.stop();
      worker = undefined;
      await eventually('the others to go back', async () => {
        const states = await Promise.all(ids.map(stateOf));
        return states.filter((state) => state === 'pending').length === 6 ? true : undefined;
      });
      gate.open();
      await stopped;
      for (const jobId of started) expect(await stateOf(jobId)).toBe('completed');
      expect(started).toHaveLength(2);
      await fleet.test.sql`delete from background_jobs where job_type = ${jobType}`;
    });
  });
}
