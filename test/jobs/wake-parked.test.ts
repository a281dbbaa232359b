import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { setBudget } from '../../src/budget/budgets.ts';
import { topUpMonth } from '../../src/budget/resolve.ts';
import { setScope } from '../../src/budget/scopes.ts';
import { wakeParkedJobs } from '../../src/jobs/sweep.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { reserve } from '../support/holds.ts';
import { addTenant } from '../support/tenants.ts';
import { addJobType, claim, begin, finish, jobRow, runningJob } from './job-steps.ts';

let test: TestDatabase;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
});
beforeEach(async () => {
  tenantId = await addTenant(test.sql, { limitUsd: '0' });
});
afterAll(() => test.close());

const nextMonth = new Date(Date.now() + 20 * 86_400_000);

async function parkedJob(neededUsd: string, priority = 0, until = nextMonth) {
  const attempt = await runningJob(test.sql, tenantId, { priority });
  await finish(test.sql, attempt, {
    toState: 'parked',
    neededUsd,
    until,
    countsAttempt: false,
  });
  return attempt.jobId;
}

const statesOf = (jobIds: readonly string[]) =>
  Promise.all(jobIds.map(async (jobId) => (await jobRow(test.sql, jobId)).state));

const topUp = (limitUsd: string) => test.sql`
  update llm_budgets set monthly_limit_usd = ${limitUsd}::numeric where tenant_id = ${tenantId}`;

it('a top-up wakes the jobs that it covers, highest priority first', async () => {
  const jobs = [await parkedJob('0.4', 1), await parkedJob('0.4', 5), await parkedJob('0.4', 3)];
  expect(await wakeParkedJobs(test.sql)).toBe(0);
  await topUp('1');
  expect(await wakeParkedJobs(test.sql)).toBe(2);
  expect(await statesOf(jobs)).toEqual(['parked', 'pending', 'pending']);
});

it('a top-up wakes no further job while the woken ones have not reserved', async () => {
  const jobs = await Promise.all([]);
  const ids: string[] = [...jobs];
  for (let n = 0; n < 4; n += 1) ids.push(await parkedJob('0.5'));
  await topUp('1');
  expect(await wakeParkedJobs(test.sql)).toBe(2);
  for (let sweeps = 0; sweeps < 3; sweeps += 1) {
    expect(await wakeParkedJobs(test.sql)).toBe(0);
  }
  // Also not while they are queued or running and have taken no hold yet.
  const claimed = await claim(test.sql);
  expect(await wakeParkedJobs(test.sql)).toBe(0);
  const attempts = [];
  for (const job of claimed) attempts.push(await begin(test.sql, job));
  expect(await wakeParkedJobs(test.sql)).toBe(0);
  // They end without having spent anything: the room is there again.
  for (const attempt of attempts) await finish(test.sql, attempt);
  expect(await wakeParkedJobs(test.sql)).toBe(2);
  expect(await statesOf(ids)).toEqual(['completed', 'completed', 'pending', 'pending']);
});

it('reserved money wakes no job', async () => {
  await topUp('1');
  const attempt = await runningJob(test.sql, tenantId);
  await reserve(test.sql, { ...attempt, tenantId }, '0.8');
  const jobId = await parkedJob('0.4');
  expect(await wakeParkedJobs(test.sql)).toBe(0);
  expect(await statesOf([jobId])).toEqual(['parked']);
});

it('a due job is woken whatever it needs', async () => {
  const due = await parkedJob('99', 0, new Date(Date.now() - 1));
  const waiting = await parkedJob('99');
  expect(await wakeParkedJobs(test.sql)).toBe(1);
  expect(await statesOf([due, waiting])).toEqual(['pending', 'parked']);
});

it('a change to a soft limit wakes all', async () => {
  const jobs = [await parkedJob('5'), await parkedJob('6')];
  await setBudget(test.sql, { tenantId, monthlyLimitUsd: '0.01', hard: false });
  expect(await wakeParkedJobs(test.sql)).toBe(2);
  expect(await statesOf(jobs)).toEqual(['pending', 'pending']);
});

it('four sweepers at once wake each job once', async () => {
  for (let n = 0; n < 10; n += 1) await parkedJob('0.1');
  await topUp('1');
  const woken = await Promise.all(Array.from({ length: 4 }, () => wakeParkedJobs(test.sql)));
  expect(woken.reduce((sum, count) => sum + count, 0)).toBe(10);
});

it('a job that is parked without a date waits until the next UTC month, by the clock of the database', async () => {
  const attempt = await runningJob(test.sql, tenantId);
  await finish(test.sql, attempt, { toState: 'parked', neededUsd: '1', countsAttempt: false });
  const [row] = await test.sql<{ next: boolean }[]>`
    select (scheduled_for at time zone 'utc') = date_trunc('month', (now() at time zone 'utc') + interval '1 month') as next
    from background_jobs where id = ${attempt.jobId}`;
  expect(row).toEqual({ next: true });
});

/** A job that a scope refused, parked as the worker parks it. */
async function refusedJob(neededUsd: string, priority: number, model: string) {
  const attempt = await runningJob(test.sql, tenantId, { priority });
  await expect(
    reserve(test.sql, { ...attempt, tenantId }, neededUsd, { model }),
  ).rejects.toMatchObject({ details: { scope: 'model', needed: neededUsd } });
  await finish(test.sql, attempt, {
    toState: 'parked',
    neededUsd,
    until: nextMonth,
    countsAttempt: false,
  });
  return attempt.jobId;
}

it('a job that a scope refused wakes when that scope has room, and no more of them than fit', async () => {
  await topUp('100');
  const scope = (subject: string, limitUsd: string) =>
    setScope(test.sql, {
      tenantId,
      kind: 'model',
      subject,
      period: 'day',
      limitUsd,
      hard: true,
      by: 'test',
    });
  await scope('big', '0.1');
  await scope('small', '0.1');
  const big = [await refusedJob('0.4', 1, 'big'), await refusedJob('0.4', 2, 'big')];
  const small = [await refusedJob('0.4', 3, 'small')];
  // The month has room for all of them.
  expect(await wakeParkedJobs(test.sql)).toBe(0);
  await scope('big', '0.7');
  expect(await wakeParkedJobs(test.sql)).toBe(1);
  expect(await statesOf([...big, ...small])).toEqual(['parked', 'pending', 'parked']);
  // Until the woken job has run, its room is taken.
  expect(await wakeParkedJobs(test.sql)).toBe(0);
  await scope('small', '1');
  expect(await wakeParkedJobs(test.sql)).toBe(1);
});

it('a top-up of the month wakes what it covers, also one that came before the job was parked', async () => {
  const attempt = await runningJob(test.sql, tenantId);
  await expect(reserve(test.sql, { ...attempt, tenantId }, '0.5')).rejects.toThrow(/monthly limit/);
  await topUpMonth(test.sql, { tenantId, usd: '0.6', reason: 'launch', by: 'grace' });
  await finish(test.sql, attempt, {
    toState: 'parked',
    neededUsd: '0.5',
    until: nextMonth,
    countsAttempt: false,
  });
  const second = await parkedJob('0.5');
  expect(await wakeParkedJobs(test.sql)).toBe(1);
  expect(await statesOf([attempt.jobId, second])).toEqual(['pending', 'parked']);
});
