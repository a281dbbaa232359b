/** Limits of starts in a window: permits that dispatch takes, a begin stamps and the window gives back. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { Database } from '../../../src/db/database.ts';
import { beginAttempts, newToken } from '../../../src/jobs/attempts.ts';
import { claimWaitingJobs } from '../../../src/jobs/dispatch.ts';
import type { DispatchedJob } from '../../../src/jobs/dispatch.ts';
import { forgetStarts, listJobLimits } from '../../../src/jobs/limits/job-limits.ts';
import { returnToPending } from '../../../src/jobs/queued.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addJobType, begin, claim, finish, flood, step } from '../job-steps.ts';

const other = 'test_other';
let test: TestDatabase;
let database: Database;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ systemConnections: 6 });
  await addJobType(test.sql);
  await addJobType(test.sql, other);
});
afterEach(async () => {
  await test.sql`delete from job_limits`;
  await test.sql`delete from tenants`;
  await test.sql`delete from purser.rate_slots`;
  await test.sql`delete from purser.dispatch_turns`;
});
afterAll(() => test.close());

async function add(id: string, jobs: number, jobType = step): Promise<void> {
  await test.sql`insert into tenants (id, plan) values (${id}, 'free') on conflict do nothing`;
  await flood(test.sql, id, jobs, { jobType });
}

async function rate(tenantId: string, jobType: string, most: number): Promise<void> {
  await test.sql`
    insert into job_limits (tenant_id, job_type, max_starts, per_seconds) values (${tenantId}, ${jobType}, ${most}, 60)`;
}

/** As if these jobs, or all, had begun so many seconds earlier. */
async function age(seconds: number, jobs?: readonly DispatchedJob[]): Promise<void> {
  await test.sql`
    update purser.rate_slots set started_at = started_at - ${seconds} * interval '1 second'
    where ${jobs?.map(({ jobId }) => jobId) ?? null}::bigint[] is null
      or job_id = any(${jobs?.map(({ jobId }) => jobId) ?? []}::bigint[])`;
}

async function beginAll(jobs: readonly DispatchedJob[]): Promise<void> {
  for (const job of jobs) await begin(test.sql, job);
}

const claimBoth = (room: number) =>
  claimWaitingJobs(test.sql, [
    { jobType: step, capacity: room },
    { jobType: other, capacity: room },
  ]);

it('so many start in a window, counted from each begin, and then so many more', async () => {
  await add('a', 20);
  await rate('a', '', 3);
  const first = await claim(test.sql, 10);
  expect(first).toHaveLength(3);
  await beginAll(first.slice(0, 2));
  await age(59);
  expect(await claim(test.sql, 10)).toEqual([]);
  await age(2);
  expect(await claim(test.sql, 10)).toHaveLength(2);
  // One that has not begun holds its permit for any time.
  expect(await claim(test.sql, 10)).toEqual([]);
});

it('a stale request to begin is no start', async () => {
  await add('a', 20);
  await rate('a', '', 1);
  const [job] = await claim(test.sql, 10);
  if (job === undefined) throw new Error('not claimed');
  const stale = {
    ...job,
    entryId: '00000000-0000-4000-8000-000000000000',
    token: newToken(job.jobId),
  };
  expect(await beginAttempts(test.sql, [stale], 'worker-1', 30_000)).toEqual([]);
  await age(61);
  expect(await claim(test.sql, 10)).toEqual([]);
});

it('the end of a job gives no permit back, and nor does the death of its worker', async () => {
  await add('a', 20);
  await rate('a', '', 2);
  const [first, second] = await claim(test.sql, 10);
  if (first === undefined || second === undefined) throw new Error('not claimed');
  await finish(test.sql, await begin(test.sql, first));
  await begin(test.sql, second, -1_000);
  await test.sql`select purser.rescue_attempts(null, '0', 100, 2, 600)`;
  expect(await claim(test.sql, 10)).toEqual([]);
  await age(61);
  expect(await claim(test.sql, 10)).toHaveLength(2);
});

it('a job that goes back before it began, and one that is cancelled, give their permits back', async () => {
  await add('a', 20);
  await rate('a', step, 2);
  const [first, second] = await claim(test.sql, 10);
  if (first === undefined || second === undefined) throw new Error('not claimed');
  await returnToPending(test.sql, [first], 'queue entry lost');
  await test.sql`select purser.end_waiting(array[${second.jobId}::bigint], 'cancelled', '{}')`;
  const again = await claim(test.sql, 10);
  expect(again).toHaveLength(2);
  expect(again.map(({ jobId }) => jobId)).toContain(first.jobId);
  expect(await claim(test.sql, 10)).toEqual([]);
  await beginAll(again);
  expect(await claim(test.sql, 10)).toEqual([]);
});

it('a job that is dispatched again has one permit', async () => {
  await add('a', 3);
  await rate('a', '', 2);
  const [first, second] = await claim(test.sql, 10);
  if (first === undefined || second === undefined) throw new Error('not claimed');
  await begin(test.sql, first);
  await age(61);
  await returnToPending(test.sql, [second], 'queue entry lost');
  expect((await claim(test.sql, 1)).map(({ jobId }) => jobId)).toEqual([second.jobId]);
  expect(await claim(test.sql, 10)).toHaveLength(1);
});

it('a rate of a tenant holds for all types together, also within one round', async () => {
  await add('a', 20);
  await add('a', 20, other);
  await add('b', 20, other);
  await rate('a', '', 2);
  const claimed = await claimBoth(2);
  expect(claimed.filter(({ tenantId }) => tenantId === 'a')).toHaveLength(2);
  expect(claimed).toHaveLength(3);
});

it('a rate of a type holds for all tenants, and the lowest limit counts', async () => {
  await add('a', 20);
  await add('b', 20);
  await rate('', step, 5);
  await rate('b', step, 1);
  const claimed = await claim(test.sql, 10);
  expect(claimed.map(({ tenantId }) => tenantId).join('')).toBe('abaaa');
  await test.sql`update job_limits set max_running = 5 where tenant_id = ''`;
  await beginAll(claimed);
  await age(61);
  expect(await claim(test.sql, 10)).toEqual([]);
});

it('such jobs have entries of their own and do not begin ahead; those of others share theirs', async () => {
  await add('a', 4);
  await add('b', 4);
  await rate('a', '', 10);
  const jobs = await claimWaitingJobs(test.sql, [{ jobType: step, capacity: 8, chunk: 8 }]);
  const entries = (id: string) =>
    new Set(jobs.filter(({ tenantId }) => tenantId === id).map(({ entryId }) => entryId)).size;
  expect([entries('a'), entries('b')]).toEqual([4, 1]);
  expect(jobs.every(({ tenantId, alone }) => alone === (tenantId === 'a'))).toBe(true);
});

it('a begin that counts waits for the disk, and any other need not', async () => {
  await add('a', 1);
  await add('b', 1);
  await rate('a', '', 10);
  const jobs = await claim(test.sql, 2);
  for (const [tenantId, setting] of [
    ['b', 'off'],
    ['a', 'on'],
  ] as const) {
    const { jobId = '', entryId = '' } = jobs.find((job) => job.tenantId === tenantId) ?? {};
    await database.system.begin(async (tx) => {
      const token = newToken(jobId);
      expect(await beginAttempts(tx, [{ jobId, entryId, token }], 'worker-1', 30_000)).toHaveLength(
        1,
      );
      const [row] = await tx`select current_setting('synchronous_commit') as setting`;
      expect(row).toEqual({ setting });
    });
  }
});

it('a lower rate waits for the starts of the higher one, and a higher one allows the rest', async () => {
  await add('a', 40);
  await rate('a', '', 8);
  const first = await claim(test.sql, 10);
  await beginAll(first);
  await age(30, first.slice(0, 5));
  await test.sql`update job_limits set max_starts = 4`;
  // Eight, then three of the last window.
  expect(await claim(test.sql, 10)).toEqual([]);
  await age(31, first.slice(0, 5));
  expect(await claim(test.sql, 10)).toHaveLength(1);
  await test.sql`update job_limits set max_starts = 9`;
  expect(await claim(test.sql, 10)).toHaveLength(5);
  await test.sql`update job_limits set max_starts = 0`;
  await age(100);
  expect(await claim(test.sql, 10)).toEqual([]);
});

it('a longer window counts the starts that were outside of the shorter one', async () => {
  await add('a', 10);
  await rate('a', '', 2);
  await beginAll(await claim(test.sql, 10));
  await age(100);
  await test.sql`update job_limits set per_seconds = 3600`;
  expect(await claim(test.sql, 10)).toEqual([]);
});

it('dispatchers of two types at once never exceed a rate, and reach it', async () => {
  await add('a', 400);
  await add('a', 400, other);
  await rate('a', '', 5);
  const counts: number[] = [];
  for (let window = 0; window < 15; window += 1) {
    let started = 0;
    for (let round = 0; round < 4; round += 1) {
      const answers = await Promise.all(
        Array.from({ length: 6 }, (_, n) => claim(database.system, 2, n % 2 === 0 ? step : other)),
      );
      started += answers.flat().length;
      await Promise.all(answers.flat().map((job) => begin(database.system, job)));
    }
    counts.push(started);
    await age(61);
  }
  expect(new Set(counts)).toEqual(new Set([5]));
});

it('the sweep removes permits that are all free, and no others', async () => {
  await add('a', 3);
  await add('b', 3);
  await rate('a', '', 2);
  await rate('b', '', 2);
  const jobs = await claim(test.sql, 10);
  await beginAll(jobs);
  await age(
    61,
    jobs.filter(({ tenantId }) => tenantId === 'a'),
  );
  expect(await listJobLimits(test.sql)).toMatchObject([
    { tenantId: 'a', inFlight: 2, started: 0 },
    { tenantId: 'b', inFlight: 2, started: 2 },
  ]);
  expect(await forgetStarts(test.sql)).toBe(2);
  expect(await test.sql`select distinct tenant_id from purser.rate_slots`).toEqual([
    { tenant_id: 'b' },
  ]);
  expect(await claim(test.sql, 10)).toHaveLength(1);
});
