import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineHandler } from '../../src/handlers/define.ts';
import { defaultBackoff } from '../../src/handlers/define.ts';
import { backoffMs } from '../../src/worker/backoff.ts';
import { addJob, eventually, historyOf, jobRow, untilState } from '../jobs/job-steps.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from './fleet.ts';
import type { Fleet } from './fleet.ts';

let fleet: Fleet;
let tenantId: string;
const payload = z.object({});

/** What the handlers saw. */
const seen = { aborted: 0, lateWrite: undefined as unknown, attempts: [] as number[] };

const obedient = defineHandler({
  type: 'test_obedient',
  timeoutMs: 100,
  maxAttempts: 1,
  payload,
  run: (ctx) =>
    new Promise((_resolve, reject) => {
      ctx.signal.addEventListener('abort', () => {
        seen.aborted += 1;
        reject(new Error('my own words'));
      });
    }),
});
const deaf = defineHandler({
  type: 'test_deaf',
  timeoutMs: 100,
  maxAttempts: 1,
  payload,
  run: async (ctx) => {
    await eventually('the job to be over', async () =>
      (await jobRow(fleet.test.sql, ctx.jobId)).state === 'dead_letter' ? true : undefined,
    );
    seen.lateWrite = await ctx.sql`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      values (${ctx.tenantId}, 'late', 'x', 1)`.catch((error: unknown) => error);
  },
});
const quick = defineHandler({
  type: 'test_quick',
  timeoutMs: 10_000,
  maxAttempts: 1,
  payload,
  run: async () => ({ in: 'time' }),
});
const always = defineHandler({
  type: 'test_always_late',
  timeoutMs: 30,
  maxAttempts: 3,
  payload,
  run: (ctx) => {
    seen.attempts.push(ctx.attempt);
    return new Promise(() => {});
  },
});
const stuckParse = defineHandler({
  type: 'test_stuck_parse',
  timeoutMs: 100,
  maxAttempts: 1,
  payload: z.object({}).refine(() => new Promise<boolean>(() => {})),
  run: async () => 'never',
});

beforeAll(async () => {
  fleet = await openFleet(undefined);
  tenantId = await addTenant(fleet.test.sql);
  await fleet.startWorker([obedient, deaf, quick, always, stuckParse]);
});
afterAll(() => fleet.close());

const endOf = async (jobType: string) => {
  const jobId = await addJob(fleet.test.sql, tenantId, { jobType });
  return { jobId, ...(await untilState(fleet.test.sql, jobId, 'completed', 'dead_letter')) };
};

describe('a deadline', () => {
  it('ends the attempt by its signal: test_job_timeout_after_duration', async () => {
    const row = await endOf('test_obedient');
    expect(seen.aborted).toBe(1);
    expect(row).toMatchObject({ state: 'dead_letter', error: { code: 'job_timeout' } });
    const timeouts = await fleet.metrics.jobTimeouts.get();
    expect(timeouts.values).toMatchObject([{ labels: { job_type: 'test_obedient' }, value: 1 }]);
  });

  it('that is not reached changes nothing: test_job_completes_within_timeout', async () => {
    expect(await endOf('test_quick')).toMatchObject({
      state: 'completed',
      result: { in: 'time' },
      error: null,
    });
  });

  it('is retried with exponential backoff, then given up: test_timeout_retries_exponential_backoff', async () => {
    const row = await endOf('test_always_late');
    expect(seen.attempts).toEqual([1, 2, 3]);
    expect(row).toMatchObject({ attempt: 3, error: { code: 'job_timeout' } });
    expect((await historyOf(fleet.test.sql, row.jobId)).slice(1)).toEqual([
      'pending>queued',
      'queued>running',
      'running>failed',
      'failed>queued',
      'queued>running',
      'running>failed',
      'failed>queued',
      'queued>running',
      'running>dead_letter',
    ]);
    const ceilings = [1, 2, 3, 4, 20].map((n) => backoffMs(n, defaultBackoff, () => 1));
    expect(ceilings).toEqual([2_000, 4_000, 8_000, 16_000, 300_000]);
    expect(backoffMs(3, defaultBackoff, () => 0)).toBe(0);
  });

  it('holds for a handler that ignores its signal, whose late write is refused', async () => {
    expect(await endOf('test_deaf')).toMatchObject({ error: { code: 'job_timeout' } });
    await eventually('the late write', async () => seen.lateWrite);
    expect(seen.lateWrite).toMatchObject({ code: 'job_timeout' });
    expect(await fleet.test.sql`select from aws_accounts`).toEqual([]);
  });

  it('holds while the payload is parsed, too', async () => {
    expect(await endOf('test_stuck_parse')).toMatchObject({ error: { code: 'job_timeout' } });
  });
});
