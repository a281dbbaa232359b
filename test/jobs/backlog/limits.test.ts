/** What a limit of a tenant's backlog counts, and what a refusal says. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { requestCancel } from '../../../src/jobs/cancel.ts';
import { enqueue, enqueueMany } from '../../../src/jobs/enqueue.ts';
import { expireWaitingJobs, rescueLostAttempts } from '../../../src/jobs/sweep.ts';
import { replayDeadLetter } from '../../../src/jobs/dead-letters.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addJobType, begin, claimJob, finish, runningJob, step } from '../job-steps.ts';
import { jobsOf, leftovers, limitedTenant, setLimits } from './backlog-tenant.ts';

let test: TestDatabase;

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
});
afterAll(() => test.close());

const add = (tenantId: string, more: object = {}) =>
  enqueue(test.sql, { tenantId, jobType: step, ...more });
const full = { code: 'backlog_full', status: 429 };

it('by number: exactly the limit is taken, and the refusal has the figures', async () => {
  const tenantId = await limitedTenant(test.sql, { jobs: 3 });
  for (let n = 0; n < 3; n += 1) await add(tenantId);
  await expect(add(tenantId, { dedupKey: 'refused' })).rejects.toMatchObject({
    ...full,
    message: expect.stringMatching(/has 3 jobs.* 1 more would exceed its limit of 3 .*set-limits/),
    details: {
      tenantId,
      unit: 'jobs',
      limit: 3,
      have: 3,
      asked: 1,
      retryAfterMs: 5000,
      class: 'snooze',
    },
  });
  expect(await jobsOf(test.sql, tenantId)).toBe(3);
  expect(await leftovers(test.sql, tenantId)).toBe(0);
});

it('by bytes: the payloads as they are stored', async () => {
  // {"text": "xxxxxxxx"} has 20 bytes.
  const tenantId = await limitedTenant(test.sql, { bytes: 50 });
  const payload = { text: 'x'.repeat(8) };
  await add(tenantId, { payload });
  await add(tenantId, { payload });
  await expect(add(tenantId, { payload })).rejects.toMatchObject({
    ...full,
    details: { unit: 'bytes', limit: 50, have: 40, asked: 20 },
  });
  await add(tenantId, { payload: { a: 123 } });
  await expect(add(tenantId)).rejects.toMatchObject({ details: { have: 50, asked: 2 } });
});

it('a limit of nothing takes nothing', async () => {
  const tenantId = await limitedTenant(test.sql, { jobs: 0 });
  await expect(add(tenantId)).rejects.toMatchObject({ details: { have: 0, limit: 0 } });
});

it("the plan's limit holds where the tenant has none", async () => {
  const tenantId = await limitedTenant(test.sql, {});
  await test.sql`insert into plans (plan, monthly_limit_usd, max_backlog_jobs) values ('small', 1, 1)`;
  await test.sql`update tenants set plan = 'small' where id = ${tenantId}`;
  await add(tenantId);
  await expect(add(tenantId)).rejects.toMatchObject({ details: { limit: 1 } });
  await setLimits(test.sql, tenantId, { jobs: 2 });
  await add(tenantId);
  await expect(add(tenantId)).rejects.toMatchObject({ details: { limit: 2 } });
});

it('jobs count that wait, are postponed, parked and queued; not those that run or have ended', async () => {
  const tenantId = await limitedTenant(test.sql, { jobs: 4 });
  const parked = await runningJob(test.sql, tenantId);
  await finish(test.sql, parked, { toState: 'parked', neededUsd: '1', countsAttempt: false });
  const queued = await claimJob(test.sql, (await add(tenantId)).jobId);
  await add(tenantId, { runAt: new Date(Date.now() + 3_600_000) });
  await add(tenantId);
  await expect(add(tenantId)).rejects.toMatchObject({ details: { have: 4 } });
  const attempt = await begin(test.sql, queued);
  await add(tenantId);
  await expect(add(tenantId)).rejects.toMatchObject({ details: { have: 4 } });
  await finish(test.sql, attempt);
  await expect(add(tenantId)).rejects.toMatchObject({ details: { have: 4 } });
});

it('a retry, a rescue and a replay are never refused, and count', async () => {
  const tenantId = await limitedTenant(test.sql, { jobs: 1 });
  const first = await runningJob(test.sql, tenantId);
  await add(tenantId);
  await finish(test.sql, first, {
    toState: 'failed',
    afterMs: 3_600_000,
    error: { code: 'x', message: 'x' },
  });
  await expect(add(tenantId)).rejects.toMatchObject({ details: { have: 2, limit: 1 } });

  const other = await limitedTenant(test.sql, { jobs: 1 });
  await runningJob(test.sql, other, {}, 0);
  await add(other);
  await rescueLostAttempts(test.sql, { offsetMs: 1_000 });
  await expect(add(other)).rejects.toMatchObject({ details: { have: 2 } });

  const third = await limitedTenant(test.sql, { jobs: 1 });
  const dead = await runningJob(test.sql, third);
  await finish(test.sql, dead, { toState: 'dead_letter', error: { code: 'x', message: 'x' } });
  await add(third);
  await replayDeadLetter(test.sql, dead.jobId, { operator: 'test', source: 'cli' });
  await expect(add(third)).rejects.toMatchObject({ details: { have: 2 } });
});

it('room comes back with a cancel, an expiry and a higher limit, and goes with a lower one', async () => {
  const tenantId = await limitedTenant(test.sql, { jobs: 2 });
  const { jobId } = await add(tenantId);
  const late = await add(tenantId);
  await expect(add(tenantId)).rejects.toMatchObject(full);
  await requestCancel(test.sql, { jobId, by: 'test', reason: 'test' });
  await add(tenantId);
  await test.sql`update purser.waiting set give_up_at = now() - interval '1 hour' where job_id = ${late.jobId}`;
  await expireWaitingJobs(test.sql);
  await add(tenantId);
  await setLimits(test.sql, tenantId, { jobs: 1 });
  await expect(add(tenantId)).rejects.toMatchObject({ details: { have: 2, limit: 1 } });
  await setLimits(test.sql, tenantId, {});
  for (let n = 0; n < 5; n += 1) await add(tenantId);
  expect(await jobsOf(test.sql, tenantId)).toBe(9);
});

it('a taken key makes no job and is not refused; replacing keeps the job', async () => {
  const tenantId = await limitedTenant(test.sql, { jobs: 1 });
  const { jobId } = await add(tenantId, { dedupKey: 'k' });
  expect(await add(tenantId, { dedupKey: 'k' })).toMatchObject({ jobId, created: false });
  const replaced = await add(tenantId, {
    dedupKey: 'k',
    onDuplicate: 'replace',
    payload: { a: 1 },
  });
  expect(replaced).toMatchObject({ jobId, replaced: true });
  expect(await enqueueMany(test.sql, [{ tenantId, jobType: step, dedupKey: 'k' }])) //
    .toMatchObject([{ jobId, created: false }]);
  await expect(add(tenantId, { dedupKey: 'new' })).rejects.toMatchObject(full);
});

it('a deleted tenant leaves no gate', async () => {
  const tenantId = await limitedTenant(test.sql, { jobs: 1 });
  await add(tenantId);
  await test.sql`delete from tenants where id = ${tenantId}`;
  const rows = await test.sql`select from purser.backlog_gates where tenant_id = ${tenantId}`;
  expect(rows).toHaveLength(0);
  expect(await jobsOf(test.sql, tenantId)).toBe(0);
});
