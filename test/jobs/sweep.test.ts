import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { expireWaitingJobs, removeExpiredKeys, rescueLostAttempts } from '../../src/jobs/sweep.ts';
import { openOperatorToken, withTenant } from '../../src/db/tenant.ts';
import type { Database } from '../../src/db/database.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import {
  addJob,
  addJobType,
  begin,
  claim,
  eventually,
  finish,
  historyOf,
  jobRow,
  runningJob,
} from './job-steps.ts';

let test: TestDatabase;
let database: Database;
let tenantId: string;
const dayMs = 86_400_000;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open();
  await addJobType(test.sql);
});
beforeEach(async () => {
  tenantId = await addTenant(test.sql);
});
afterAll(() => test.close());

describe('rescue', () => {
  it('returns only attempts with an expired lease, without counting them', async () => {
    const lost = await runningJob(test.sql, tenantId, {}, -1);
    const held = await runningJob(test.sql, tenantId);
    expect(await rescueLostAttempts(test.sql)).toEqual({
      requeued: 1,
      cancelled: 0,
    });
    expect(await jobRow(test.sql, lost.jobId)).toMatchObject({
      state: 'pending',
      attempt: 0,
      losses: 1,
      state_detail: { reason: 'worker lost', worker: 'worker-1' },
    });
    expect((await jobRow(test.sql, held.jobId)).state).toBe('running');
    await finish(test.sql, held);
  });

  it('by five sweepers at once counts one loss', async () => {
    const lost = await runningJob(test.sql, tenantId, {}, -1);
    const swept = await Promise.all(Array.from({ length: 5 }, () => rescueLostAttempts(test.sql)));
    expect(swept.reduce((sum, { requeued }) => sum + requeued, 0)).toBe(1);
    expect((await jobRow(test.sql, lost.jobId)).losses).toBe(1);
  });

  it('deletes the token, so that an open transaction of the old attempt cannot commit', async () => {
    const lost = await runningJob(test.sql, tenantId, {}, -1);
    let proceed: () => void = () => {};
    const gate = new Promise<void>((resolve) => {
      proceed = resolve;
    });
    let inside: () => void = () => {};
    const entered = new Promise<void>((resolve) => {
      inside = resolve;
    });
    const work = withTenant(database.tenant, { token: lost.token }, async (tx) => {
      await tx`
        insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
        values (${tenantId}, 'late', 'x', 1)`;
      inside();
      await gate;
    });
    const outcome = work.catch((error: unknown) => error);
    await entered;
    expect((await rescueLostAttempts(test.sql)).requeued).toBe(1);
    proceed();
    expect(await outcome).toMatchObject({ code: 'PU002' });
    expect(await test.sql`select from aws_accounts where account_id = 'late'`).toEqual([]);
  });

  it('skips an attempt that is being committed, so that nothing is lost', async () => {
    const lost = await runningJob(test.sql, tenantId, {}, -1);
    await test.sql.begin(async (tx) => {
      await tx`select set_config('role', 'purser_tenant', true), set_config('purser.token', ${lost.token}, true)`;
      await tx`
        insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
        values (${tenantId}, 'in time', 'x', 1)`;
      await tx`select purser.commit_fence()`;
      expect((await rescueLostAttempts(test.sql)).requeued).toBe(0);
    });
    expect(await test.sql`select from aws_accounts where account_id = 'in time'`).toHaveLength(1);
    expect((await rescueLostAttempts(test.sql)).requeued).toBe(1);
  });
});

describe('giveUpAfter', () => {
  it.each(['pending', 'queued', 'failed', 'parked'] as const)(
    'of a %s job ends it as expired',
    async (state) => {
      const jobId = await addJob(test.sql, tenantId);
      if (state !== 'pending') {
        const job = (await claim(test.sql)).find((candidate) => candidate.jobId === jobId);
        if (job === undefined) throw new Error('not claimed');
        if (state !== 'queued') {
          await finish(test.sql, await begin(test.sql, job), {
            toState: state,
            afterMs: 0,
            ...(state === 'parked' ? { neededUsd: '1', until: new Date() } : {}),
          });
        }
      }
      await test.sql`
        update background_jobs set give_up_at = now() - interval '1 second' where id = ${jobId}`;
      expect(await expireWaitingJobs(test.sql)).toBe(1);
      expect(await jobRow(test.sql, jobId)).toMatchObject({
        state: 'dead_letter',
        error: { code: 'expired', message: expect.stringContaining(state) },
      });
    },
  );

  it('does not apply to a running job', async () => {
    const attempt = await runningJob(test.sql, tenantId);
    await expireWaitingJobs(test.sql, { offsetMs: 10 * dayMs });
    expect((await jobRow(test.sql, attempt.jobId)).state).toBe('running');
    await finish(test.sql, attempt);
  });

  it('of a parked job is two months from its first parking, however often it is parked', async () => {
    const attempt = await runningJob(test.sql, tenantId);
    const resetsAt = new Date(Date.now() + 20 * dayMs);
    const park = { toState: 'parked', neededUsd: '1', until: resetsAt } as const;
    await finish(test.sql, attempt, park);
    const first = (await jobRow(test.sql, attempt.jobId)).give_up_at;
    expect(await expireWaitingJobs(test.sql, { offsetMs: 50 * dayMs })).toBe(0);
    await test.sql`
      update background_jobs set state = 'pending', scheduled_for = now() where id = ${attempt.jobId}`;
    const job = (await claim(test.sql)).find(({ jobId }) => jobId === attempt.jobId);
    if (job === undefined) throw new Error('not claimed');
    await finish(test.sql, await begin(test.sql, job), park);
    expect((await jobRow(test.sql, attempt.jobId)).give_up_at).toEqual(first);
    expect(await expireWaitingJobs(test.sql, { offsetMs: 63 * dayMs })).toBe(1);
  });
});

it('expired keys are removed when their job has ended, expired operator tokens always', async () => {
  const live = await addJob(test.sql, tenantId, { dedupKey: 'live' });
  await finish(test.sql, await runningJob(test.sql, tenantId, { dedupKey: 'ended' }));
  await finish(test.sql, await runningJob(test.sql, tenantId, { dedupKey: 'kept' }));
  await test.sql`
    update job_keys set expires_at = now() - interval '1 second' where dedup_key in ('live', 'ended')`;
  const door = await openOperatorToken(test.sql, tenantId, 1);
  const open = await openOperatorToken(test.sql, tenantId, 60_000);
  const running = await runningJob(test.sql, tenantId);
  await eventually('the door to expire', async () =>
    (await test.sql`select from purser.operator_tokens where expires_at < now()`).length > 0
      ? true
      : undefined,
  );
  expect(await removeExpiredKeys(test.sql)).toBe(1);
  const keys = await test.sql`select dedup_key from job_keys where tenant_id = ${tenantId}`;
  expect(keys.map(({ dedup_key }) => String(dedup_key)).toSorted()).toEqual(['kept', 'live']);
  const doors =
    await test.sql`select token from purser.operator_tokens where tenant_id = ${tenantId}`;
  expect(doors).toEqual([{ token: open }]);
  expect(doors).not.toContainEqual({ token: door });
  expect(await finish(test.sql, running)).toBe('applied');
  expect((await historyOf(test.sql, live))[0]).toBe('>pending');
});
