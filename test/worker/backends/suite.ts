/** The promises of a worker, with queues in either store. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { PurserError } from '../../../src/errors.ts';
import { defineHandler } from '../../../src/handlers/define.ts';
import type { JobContext } from '../../../src/handlers/define.ts';
import { cancel, retry, snooze } from '../../../src/handlers/outcome.ts';
import { rescueLostAttempts, wakeParkedJobs } from '../../../src/jobs/sweep.ts';
import type { WorkerService, WorkerServiceOptions } from '../../../src/worker/worker.ts';
import { addJob, eventually, historyOf, jobRow, untilState } from '../../jobs/job-steps.ts';
import { reserve } from '../../support/holds.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
import { openFleet } from '../fleet.ts';
import type { Fleet } from '../fleet.ts';

type Run = (ctx: JobContext<unknown>) => Promise<unknown>;

const untilAborted: Run = ({ signal }) =>
  new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
  });

export function describeWorker(open: () => Promise<Fleet>): void {
  let fleet: Fleet;
  let tenantId: string;
  let worker: WorkerService | undefined;

  beforeAll(async () => {
    fleet = await open();
    tenantId = await addTenant(fleet.test.sql, { limitUsd: '1' });
  });
  afterEach(async () => {
    await worker?.stop();
    worker = undefined;
  });
  afterAll(() => fleet.close());

  /** A worker whose only handler is `run`; one job for it. */
  async function start(run: Run, overrides: Partial<WorkerServiceOptions> = {}): Promise<string> {
    const handler = defineHandler({
      type: 'test_work',
      timeoutMs: 20_000,
      maxAttempts: 3,
      payload: z.object({ ok: z.boolean().default(true) }),
      run,
    });
    worker = await fleet.startWorker([handler], overrides);
    return addJob(fleet.test.sql, tenantId, { jobType: 'test_work' });
  }
  const stop = async () => {
    const stopped = worker?.stop();
    worker = undefined;
    await stopped;
  };
  const ended = (jobId: string) =>
    untilState(fleet.test.sql, jobId, 'completed', 'dead_letter', 'cancelled');

  describe('a job', () => {
    it('goes from pending to completed with its result', async () => {
      const jobId = await start(async ({ payload, attempt }) => ({ payload, attempt }));
      expect(await ended(jobId)).toMatchObject({
        state: 'completed',
        result: { payload: { ok: true }, attempt: 1 },
      });
      expect(await historyOf(fleet.test.sql, jobId)).toEqual([
        '>pending',
        'pending>queued',
        'queued>running',
        'running>completed',
      ]);
    });

    it('that fails is tried again and then succeeds', async () => {
      const jobId = await start(async ({ attempt }) => {
        if (attempt < 3) throw new Error(`failure ${attempt}`);
        return attempt;
      });
      expect(await ended(jobId)).toMatchObject({ state: 'completed', result: 3, attempt: 3 });
    });

    it('that fails each time is a dead letter after its last attempt', async () => {
      const jobId = await start(() => Promise.reject(new Error('broken for good')));
      expect(await ended(jobId)).toMatchObject({
        state: 'dead_letter',
        attempt: 3,
        error: { code: 'error', message: 'broken for good' },
      });
    });

    it('with a fatal error is a dead letter at once', async () => {
      const jobId = await start(() =>
        Promise.reject(new PurserError('bad_input', 'no', { details: { class: 'fatal' } })),
      );
      expect(await ended(jobId)).toMatchObject({ attempt: 1, error: { code: 'bad_input' } });
    });

    it('whose payload does not fit is a dead letter that names the field', async () => {
      await start(async () => 'ran');
      const jobId = await addJob(fleet.test.sql, tenantId, {
        jobType: 'test_work',
        payload: { ok: 'perhaps' },
      });
      expect(await ended(jobId)).toMatchObject({
        attempt: 1,
        error: { code: 'invalid_payload', message: expect.stringContaining('ok:') },
      });
    });

    it('that snoozes counts no attempt', async () => {
      let calls = 0;
      const jobId = await start(async ({ attempt }) => {
        calls += 1;
        return calls < 5 ? snooze({ reason: 'not yet', afterMs: 1 }) : attempt;
      });
      expect(await ended(jobId)).toMatchObject({ state: 'completed', result: 1 });
    });

    it('that asks for a retry has one attempt less', async () => {
      const jobId = await start(async ({ attempt }) =>
        attempt === 1 ? retry({ reason: 'later', afterMs: 1 }) : attempt,
      );
      expect(await ended(jobId)).toMatchObject({ result: 2, error: { code: 'retry_requested' } });
    });

    it('that cancels itself ends as cancelled', async () => {
      const jobId = await start(async () => cancel({ reason: 'not needed' }));
      expect(await ended(jobId)).toMatchObject({
        state: 'cancelled',
        state_detail: { reason: 'not needed', by: 'handler' },
      });
    });

    it('whose budget refuses is parked, and runs after a top-up', async () => {
      const { sql } = fleet.test;
      await reserve(sql, await startAttempt(sql, tenantId), '0.8');
      const jobId = await start(async (ctx) => {
        await reserve(sql, { ...ctx, tenantId }, '0.5');
        return 'paid';
      });
      expect(await untilState(sql, jobId, 'parked')).toMatchObject({
        attempt: 0,
        error: { code: 'budget_exceeded' },
      });
      expect(await wakeParkedJobs(sql)).toBe(0);
      await sql`update llm_budgets set monthly_limit_usd = 2 where tenant_id = ${tenantId}`;
      expect(await wakeParkedJobs(sql)).toBe(1);
      expect(await ended(jobId)).toMatchObject({ state: 'completed', result: 'paid', attempt: 1 });
    });
  });

  describe('a lease', () => {
    it('that was lost aborts its handler, whose result is refused', async () => {
      const reasons: unknown[] = [];
      const jobId = await start(
        (ctx) => {
          ctx.signal.addEventListener('abort', () => reasons.push(ctx.signal.reason));
          return untilAborted(ctx);
        },
        { leaseMs: 1_000 },
      );
      await untilState(fleet.test.sql, jobId, 'running');
      await rescueLostAttempts(fleet.test.sql, { offsetMs: 60_000 });
      await eventually('the abort', async () => reasons[0]);
      expect(reasons[0]).toMatchObject({ code: 'lease_lost' });
      expect((await jobRow(fleet.test.sql, jobId)).losses).toBe(1);
    });

    it('that cannot be renewed aborts its handler before another worker may begin the job', async () => {
      const reasons: unknown[] = [];
      const jobId = await start(
        (ctx) => {
          ctx.signal.addEventListener('abort', () => reasons.push(ctx.signal.reason));
          return untilAborted(ctx);
        },
        { leaseMs: 1_500 },
      );
      await untilState(fleet.test.sql, jobId, 'running');
      // A renewal waits for this lock, as it would for a database that does not answer.
      await fleet.test.sql.begin(async (tx) => {
        await tx`select from purser.in_flight where job_id = ${jobId} for update`;
        await eventually('the abort', async () => reasons[0]);
        const [lease] = await tx`
          select expires_at > clock_timestamp() as held from purser.in_flight where job_id = ${jobId}`;
        expect(lease).toEqual({ held: true });
      });
      expect(reasons[0]).toMatchObject({ code: 'lease_lost' });
    });

    it('is renewed while its handler runs', async () => {
      const jobId = await start(untilAborted, { leaseMs: 400, shutdownGraceMs: 1 });
      await untilState(fleet.test.sql, jobId, 'running');
      const expiry = async () =>
        (
          await fleet.test.sql`select expires_at from purser.in_flight where job_id = ${jobId}`
        )[0]?.['expires_at'];
      const first = await expiry();
      const later = await eventually('a renewal', async () => {
        const now = await expiry();
        return now > first ? now : undefined;
      });
      expect(later > first).toBe(true);
    });
  });

  describe('a worker that is asked to stop', () => {
    it('lets work finish inside its grace', async () => {
      let release: (value: string) => void = () => {};
      const gate = new Promise<string>((resolve) => {
        release = resolve;
      });
      const jobId = await start(() => gate);
      await untilState(fleet.test.sql, jobId, 'running');
      const stopped = stop();
      release('in time');
      await stopped;
      expect(await jobRow(fleet.test.sql, jobId)).toMatchObject({
        state: 'completed',
        result: 'in time',
      });
    });

    it('hands the other jobs back uncounted, and another worker runs them', async () => {
      const jobId = await start(untilAborted, { shutdownGraceMs: 50 });
      await untilState(fleet.test.sql, jobId, 'running');
      await stop();
      expect(await jobRow(fleet.test.sql, jobId)).toMatchObject({ attempt: 0, losses: 0 });
      await start(async () => 'by another');
      expect(await ended(jobId)).toMatchObject({ state: 'completed', result: 'by another' });
    });
  });
}

export const onStore =
  (redisUrl: () => string | undefined, dispatching = true) =>
  () =>
    openFleet(redisUrl(), dispatching);
