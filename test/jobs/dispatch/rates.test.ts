/** Limits of starts in a window: permits that dispatch takes, a begin stamps and the window gives back. */
import { expect, it } from 'vitest';
import { beginAttempts, newToken } from '../../../src/jobs/attempts.ts';
import { claimWaitingJobs } from '../../../src/jobs/dispatch.ts';
import type { DispatchedJob } from '../../../src/jobs/dispatch.ts';
import { forgetStarts, listJobLimits } from '../../../src/jobs/limits/job-limits.ts';
import { returnToPending } from '../../../src/jobs/queued.ts';
import { begin, claim, finish, flood, step } from '../job-steps.ts';
import { other, useDispatchDatabase } from './dispatch-database.ts';

const db = useDispatchDatabase();

async function add(id: string, jobs: number, jobType = step): Promise<void> {
  await db.sql`insert into tenants (id, plan) values (${id}, 'free') on conflict do nothing`;
  await flood(db.sql, id, jobs, { jobType });
}

async function rate(tenantId: string, jobType: string, most: number): Promise<void> {
  await db.sql`
    insert into job_limits (tenant_id, job_type, max_starts, per_seconds) values (${tenantId}, ${jobType}, ${most}, 60)`;
}

/** As if these jobs, or all, had begun so many seconds earlier. */
async function age(seconds: number, jobs?: readonly DispatchedJob[]): Promise<void> {
  await db.sql`
    update purser.rate_slots set started_at = started_at - ${seconds} * interval '1 second'
    where ${jobs?.map(({ jobId }) => jobId) ?? null}::bigint[] is null
      or job_id = any(${jobs?.map(({ jobId }) => jobId) ?? []}::bigint[])`;
}

async function beginAll(jobs: readonly DispatchedJob[]): Promise<void> {
  for (const job of jobs) await begin(db.sql, job);
}

const claimBoth = (room: number) =>
  claimWaitingJobs(db.sql, [
    { jobType: step, capacity: room },
    { jobType: other, capacity: room },
  ]);

it('so many start in a window, counted from each begin, and then so many more', async () => {
  await add('a', 20);
  await rate('a', '', 3);
  const first = await claim(db.sql, 10);
  expect(first).toHaveLength(3);
  await beginAll(first.slice(0, 2));
  await age(59);
  expect(await claim(db.sql, 10)).toEqual([]);
  await age(2);
  expect(await claim(db.sql, 10)).toHaveLength(2);
  // One that has not begun holds its permit for any time.
  expect(await claim(db.sql, 10)).toEqual([]);
});

it('a stale request to begin is no start', async () => {
  await add('a', 20);
  await rate('a', '', 1);
  const [job] = await claim(db.sql, 10);
  if (job === undefined) throw new Error('not claimed');
  const stale = {
    ...job,
    entryId: '00000000-0000-4000-8000-000000000000',
    token: newToken(job.jobId),
  };
  expect(await beginAttempts(db.sql, [stale], 'worker-1', 30_000)).toEqual([]);
  await age(61);
  expect(await claim(db.sql, 10)).toEqual([]);
});

it('the end of a job gives no permit back, and nor does the death of its worker', async () => {
  await add('a', 20);
  await rate('a', '', 2);
  const [first, second] = await claim(db.sql, 10);
  if (first === undefined || second === undefined) throw new Error('not claimed');
  await finish(db.sql, await begin(db.sql, first));
  await begin(db.sql, second, -1_000);
  await db.sql`select purser.rescue_attempts(null, '0', 100, 2, 600)`;
  expect(await claim(db.sql, 10)).toEqual([]);
  await age(61);
  expect(await claim(db.sql, 10)).toHaveLength(2);
});

it('a job that goes back before it began, and one that is cancelled, give their permits back', async () => {
  await add('a', 20);
  await rate('a', step, 2);
  const [first, second] = await claim(db.sql, 10);
  if (first === undefined || second === undefined) throw new Error('not claimed');
  await returnToPending(db.sql, [first], 'queue entry lost');
  await db.sql`select purser.end_waiting(array[${second.jobId}::bigint], 'cancelled', '{}')`;
  const again = await claim(db.sql, 10);
  expect(again).toHaveLength(2);
  expect(again.map(({ jobId }) => jobId)).toContain(first.jobId);
  expect(await claim(db.sql, 10)).toEqual([]);
  await beginAll(again);
  expect(await claim(db.sql, 10)).toEqual([]);
});

it('a job that is dispatched again has one permit', async () => {
  await add('a', 3);
  await rate('a', '', 2);
  const [first, second] = await claim(db.sql, 10);
  if (first === undefined || second === undefined) throw new Error('not claimed');
  await begin(db.sql, first);
  await age(61);
  await returnToPending(db.sql, [second], 'queue entry lost');
  expect((await claim(db.sql, 1)).map(({ jobId }) => jobId)).toEqual([second.jobId]);
  expect(await claim(db.sql, 10)).toHaveLength(1);
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
  const claimed = await claim(db.sql, 10);
  expect(claimed.map(({ tenantId }) => tenantId).join('')).toBe('abaaa');
  await db.sql`update job_limits set max_running = 5 where tenant_id = ''`;
  await beginAll(claimed);
  await age(61);
  expect(await claim(db.sql, 10)).toEqual([]);
});

it('such jobs have entries of their own and do not begin ahead; those of others share theirs', async () => {
  await add('a', 4);
  await add('b', 4);
  await rate('a', '', 10);
  const jobs = await claimWaitingJobs(db.sql, [{ jobType: step, capacity: 8, chunk: 8 }]);
  const entries = (id: string) =>
    new Set(jobs.filter(({ tenantId }) => tenantId === id).map(({ entryId }) => entryId)).size;
  expect([entries('a'), entries('b')]).toEqual([4, 1]);
  expect(jobs.every(({ tenantId, alone }) => alone === (tenantId === 'a'))).toBe(true);
});

it('a begin that counts waits for the disk, and any other need not', async () => {
  await add('a', 1);
  await add('b', 1);
  await rate('a', '', 10);
  const jobs = await claim(db.sql, 2);
  for (const [tenantId, setting] of [
    ['b', 'off'],
    ['a', 'on'],
  ] as const) {
    const { jobId = '', entryId = '' } = jobs.find((job) => job.tenantId === tenantId) ?? {};
    await db.system.begin(async (tx) => {
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
  const first = await claim(db.sql, 10);
  await beginAll(first);
  await age(30, first.slice(0, 5));
  await db.sql`update job_limits set max_starts = 4`;
  // Eight, then three of the last window.
  expect(await claim(db.sql, 10)).toEqual([]);
  await age(31, first.slice(0, 5));
  expect(await claim(db.sql, 10)).toHaveLength(1);
  await db.sql`update job_limits set max_starts = 9`;
  expect(await claim(db.sql, 10)).toHaveLength(5);
  await db.sql`update job_limits set max_starts = 0`;
  await age(100);
  expect(await claim(db.sql, 10)).toEqual([]);
});

it('a longer window counts the starts that were outside of the shorter one', async () => {
  await add('a', 10);
  await rate('a', '', 2);
  await beginAll(await claim(db.sql, 10));
  await age(100);
  await db.sql`update job_limits set per_seconds = 3600`;
  expect(await claim(db.sql, 10)).toEqual([]);
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
        Array.from({ length: 6 }, (_, n) => claim(db.system, 2, n % 2 === 0 ? step : other)),
      );
      started += answers.flat().length;
      await Promise.all(answers.flat().map((job) => begin(db.system, job)));
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
  const jobs = await claim(db.sql, 10);
  await beginAll(jobs);
  await age(
    61,
    jobs.filter(({ tenantId }) => tenantId === 'a'),
  );
  expect(await listJobLimits(db.sql)).toMatchObject([
    { tenantId: 'a', inFlight: 2, started: 0 },
    { tenantId: 'b', inFlight: 2, started: 2 },
  ]);
  expect(await forgetStarts(db.sql)).toBe(2);
  expect(await db.sql`select distinct tenant_id from purser.rate_slots`).toEqual([
    { tenant_id: 'b' },
  ]);
  expect(await claim(db.sql, 10)).toHaveLength(1);
});
