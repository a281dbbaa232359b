/** A queued job goes back to pending when its entry has ended in the queue, and stays while the entry waits or is held. */
import { randomUUID } from 'node:crypto';
import type { Job, Worker } from 'bullmq';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createMetrics } from '../../src/metrics.ts';
import type { DispatchedJob } from '../../src/jobs/dispatch.ts';
import type { Entry } from '../../src/queues/backend.ts';
import { sweepOnce } from '../../src/scheduler/sweep-round.ts';
import { addJob, addJobType, claim, historyOf, jobRow } from '../jobs/job-steps.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from '../worker/fleet.ts';
import type { Fleet } from '../worker/fleet.ts';

type Take = (entry: Job<Entry>, lock: string) => Promise<unknown>;

const ended: readonly [string, Take][] = [
  ['completed', (entry, lock) => entry.moveToCompleted('done', lock, false)],
  ['failed', (entry, lock) => entry.moveToFailed(new Error('it broke'), lock, false)],
];

function entriesIn(
  openStore: () => Promise<TestRedis | undefined>,
  /** In Postgres BullMQ itself soon returns the entries of a dead worker. */
  returnsThoseOfDeadWorkers = false,
): void {
  let redis: TestRedis | undefined;
  let fleet: Fleet;
  let tenantId: string;
  let worker: Worker<Entry> | undefined;
  /** A queue of its own for each test. */
  let jobType: string;

  beforeAll(async () => {
    redis = await openStore();
    fleet = await openFleet(redis?.url, false);
    tenantId = await addTenant(fleet.test.sql);
  });
  beforeEach(async () => {
    jobType = `step_${randomUUID().slice(0, 8)}`;
    await addJobType(fleet.test.sql, jobType);
  });
  afterEach(async () => {
    await worker?.close(true);
    worker = undefined;
  });
  afterAll(async () => {
    await fleet.close();
    await redis?.stop();
  });

  /** Dispatches the only job of the type. */
  async function dispatched(): Promise<DispatchedJob> {
    const [job] = await claim(fleet.test.sql, 1, jobType);
    if (job === undefined) throw new Error('no job was claimed');
    expect(await fleet.transport.add([job])).toEqual([]);
    return job;
  }
  async function queuedJob(): Promise<DispatchedJob> {
    await addJob(fleet.test.sql, tenantId, { jobType });
    return dispatched();
  }

  /** Takes the entry out of the queue as a worker does. */
  async function take(job: DispatchedJob, then: Take): Promise<void> {
    const lock = randomUUID();
    worker = fleet.backend.worker(jobType, () => Promise.resolve(), { concurrency: 1 });
    const entry: Job<Entry> | undefined = await worker.getNextJob(lock, { block: false });
    if (entry?.id !== job.entryId) throw new Error('the queue gave another entry');
    await then(entry, lock);
  }

  const sweep = () =>
    sweepOnce({
      sql: fleet.database.system,
      transport: fleet.transport,
      log: silentLog,
      metrics: createMetrics(),
      reconcileAfterMs: -60_000,
      more: [],
    });
  const storedState = ({ entryId }: DispatchedJob) =>
    fleet.transport.queue(jobType).getJobState(entryId);

  it.each(ended)(
    'that is %s is removed and lost, and its job is dispatched again',
    async (state, then) => {
      const job = await queuedJob();
      await take(job, then);
      // Nothing of it is shown as the end of its jobs.
      expect(await storedState(job)).toBe('unknown');
      expect(await fleet.transport.queue(jobType).getJobCounts()).toMatchObject({ [state]: 0 });
      expect(await fleet.transport.findLost([job])).toEqual([job]);
      await sweep();
      const { sql } = fleet.test;
      expect(await jobRow(sql, job.jobId)).toMatchObject({
        state: 'pending',
        state_detail: { reason: 'queue entry lost' },
      });
      expect(await historyOf(sql, job.jobId)).toEqual([
        '>pending',
        'pending>queued',
        'queued>pending',
      ]);
      const again = await dispatched();
      expect(again).toMatchObject({ jobId: job.jobId });
      expect(await storedState(again)).toBe('waiting');
    },
  );

  it.each([
    ['waiting', () => Promise.resolve()],
    ['active', (job: DispatchedJob) => take(job, () => Promise.resolve())],
  ] as const)('that is %s keeps its job queued', async (state, arrange) => {
    const job = await queuedJob();
    await arrange(job);
    expect(await storedState(job)).toBe(state);
    expect(await fleet.transport.findLost([job])).toEqual([]);
    await sweep();
    expect(await jobRow(fleet.test.sql, job.jobId)).toMatchObject({ state: 'queued' });
  });

  it.runIf(returnsThoseOfDeadWorkers)(
    'that is active loses its job when its worker has died',
    async () => {
      const job = await queuedJob();
      await take(job, () => Promise.resolve());
      // As it expires.
      const lock = fleet.transport.queue(jobType).toKey(`${job.entryId}:lock`);
      expect(await redis?.command('DEL', lock)).toBe(':1');
      expect(await storedState(job)).toBe('active');
      await sweep();
      expect(await jobRow(fleet.test.sql, job.jobId)).toMatchObject({ state: 'pending' });
      expect(await storedState(await dispatched())).toBe('waiting');
    },
  );
}

describe('an entry in Postgres', () => {
  entriesIn(() => Promise.resolve(undefined));
});
describeOnRedis('an entry in Redis', () => {
  entriesIn(startRedis, true);
});
