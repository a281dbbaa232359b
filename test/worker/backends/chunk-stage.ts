/** A worker of one job type, and entries with many jobs for it, with queues in either store. */
import { afterAll, afterEach, beforeAll } from 'vitest';
import { z } from 'zod';
import { defineHandler } from '../../../src/handlers/define.ts';
import type { JobContext } from '../../../src/handlers/define.ts';
import { claimWaitingJobs } from '../../../src/jobs/dispatch.ts';
import type { WorkerService, WorkerServiceOptions } from '../../../src/worker/worker.ts';
import { addJob, jobRow } from '../../jobs/job-steps.ts';
import { addTenant } from '../../support/tenants.ts';
import type { Fleet } from '../fleet.ts';

type Run = (ctx: JobContext<unknown>) => Promise<unknown>;

export const jobType = 'chunked_work';

/** One fleet for the tests of a `describe`; each test has a worker of its own. */
export class ChunkStage {
  /** Ids, in order of their starts. */
  started: string[] = [];
  mostAtOnce = 0;
  /** Resolves when the gate opens. */
  gate: Promise<void> = Promise.resolve();
  openGate: () => void = () => {};
  readonly #running = new Set<string>();
  #fleet: Fleet | undefined;
  #tenantId = '';
  #worker: WorkerService | undefined;

  constructor(open: () => Promise<Fleet>) {
    beforeAll(async () => {
      this.#fleet = await open();
      this.#tenantId = await addTenant(this.fleet.test.sql);
    });
    afterEach(async () => {
      this.openGate();
      await this.stop();
      this.started = [];
      this.mostAtOnce = 0;
    });
    afterAll(() => this.fleet.close());
  }

  get fleet(): Fleet {
    if (this.#fleet === undefined) throw new Error('no fleet');
    return this.#fleet;
  }

  async start(
    run: Run,
    overrides: Partial<WorkerServiceOptions> = {},
    concurrency?: number,
  ): Promise<void> {
    const handler = defineHandler({
      type: jobType,
      timeoutMs: 60_000,
      maxAttempts: 1,
      payload: z.object({}),
      run: (ctx) => this.#track(ctx, run),
      ...(concurrency === undefined ? {} : { concurrency }),
    });
    // Nobody dispatches what goes back.
    const patient = { concurrency: 4, slotWaitMs: 20_000, recallMs: 20_000 };
    this.#worker = await this.fleet.startWorker([handler], { ...patient, ...overrides });
  }

  async stop(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.stop();
  }

  closeGate(): void {
    this.gate = new Promise((resolve) => {
      this.openGate = resolve;
    });
  }

  addJob(): Promise<string> {
    return addJob(this.fleet.test.sql, this.#tenantId, { jobType });
  }

  /** Entries of `chunk` jobs at most, of all that wait; the jobs' ids, in order. */
  async dispatch(chunk: number): Promise<string[]> {
    const { test, transport } = this.fleet;
    const jobs = await claimWaitingJobs(test.sql, [{ jobType, capacity: 1_000, chunk }]);
    await transport.add(jobs);
    return jobs.map(({ jobId }) => jobId);
  }

  async addChunks(count: number, chunk: number): Promise<string[]> {
    for (let n = 0; n < count; n += 1) await this.addJob();
    return this.dispatch(chunk);
  }

  async stateOf(jobId: string): Promise<string> {
    return (await jobRow(this.fleet.test.sql, jobId)).state;
  }

  statesOf(ids: readonly string[]): Promise<string[]> {
    return Promise.all(ids.map((jobId) => this.stateOf(jobId)));
  }

  async remove(ids: readonly string[]): Promise<void> {
    await this.fleet.test.sql`delete from background_jobs where id = any(${[...ids]}::bigint[])`;
  }

  activeEntries(): Promise<number> {
    return this.fleet.transport.queue(jobType).getActiveCount();
  }

  async #track(ctx: JobContext<unknown>, run: Run): Promise<unknown> {
    this.started.push(ctx.jobId);
    this.#running.add(ctx.jobId);
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#running.size);
    try {
      return await run(ctx);
    } finally {
      this.#running.delete(ctx.jobId);
    }
  }
}
