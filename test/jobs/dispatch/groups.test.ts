/** Groups: jobs that share a limit beside those of their tenant and type. */
import { expect, it } from 'vitest';
import { claimWaitingJobs } from '../../../src/jobs/dispatch.ts';
import type { DispatchedJob } from '../../../src/jobs/dispatch.ts';
import { setJobLimit } from '../../../src/jobs/limits/job-limits.ts';
import type { LimitTarget, LimitValues } from '../../../src/jobs/limits/job-limits.ts';
import { claim, step } from '../job-steps.ts';
import { addWaiting, finishAll, other, useDispatchDatabase } from './dispatch-database.ts';

const db = useDispatchDatabase();

const add = (
  id: string,
  jobs: number,
  { group = '', ...kind }: { group?: string; jobType?: string; priority?: number } = {},
) => addWaiting(db.sql, [id], jobs, { groups: [group], ...kind });

const limit = (target: LimitTarget, values: LimitValues) =>
  setJobLimit(db.sql, target, { ...values, by: 'test' });

async function groupsOf(jobs: readonly DispatchedJob[]): Promise<string[]> {
  const rows = await db.sql<{ id: string; name: string }[]>`
    select id::text, tenant_id || '/' || group_name as name from jobs
    where id = any(${jobs.map(({ jobId }) => jobId)}::bigint[])`;
  const names = new Map(rows.map(({ id, name }) => [id, name]));
  return jobs.map(({ jobId }) => names.get(jobId) ?? '');
}

/** How many of each group. */
async function tally(jobs: readonly DispatchedJob[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const name of await groupsOf(jobs)) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

it('without limits the jobs of a tenant run by rank, whatever group they name', async () => {
  await add('a', 2, { group: 'x', priority: 1 });
  await add('a', 2, { priority: 3 });
  await add('a', 2, { group: 'y', priority: 2 });
  await add('b', 1);
  expect(await groupsOf(await claim(db.sql, 10))).toEqual([
    'a/',
    'b/',
    'a/',
    'a/y',
    'a/y',
    'a/x',
    'a/x',
  ]);
});

it('twenty thousand jobs of a group at its limit hide none of the other jobs of their tenant', async () => {
  await add('a', 20_000, { group: 'slow' });
  await add('a', 3);
  await add('a', 3, { group: 'quick' });
  await add('b', 2);
  await limit({ group: 'slow' }, { maxRunning: 2 });
  expect(await tally(await claim(db.sql, 100))).toEqual({
    'a/slow': 2,
    'a/': 3,
    'a/quick': 3,
    'b/': 2,
  });
  expect(await claim(db.sql, 100)).toEqual([]);
});

it('a limit of a group holds for all tenants and types, each tenant has one before any has two', async () => {
  for (const id of ['a', 'b', 'c']) {
    await add(id, 5, { group: 'eu' });
    await add(id, 5, { group: 'eu', jobType: other });
    await add(id, 1);
  }
  await limit({ group: 'eu' }, { maxRunning: 4 });
  const claimed = await claimWaitingJobs(db.sql, [
    { jobType: other, capacity: 3 },
    { jobType: step, capacity: 10 },
  ]);
  expect(await tally(claimed)).toEqual({
    'a/eu': 2,
    'b/eu': 1,
    'c/eu': 1,
    'a/': 1,
    'b/': 1,
    'c/': 1,
  });
  await finishAll(db.sql, claimed);
  expect(await tally(await claim(db.sql, 10))).toEqual({ 'a/eu': 1, 'b/eu': 2, 'c/eu': 1 });
});

it('of a tenant, of each tenant, of a kind: the most particular limit counts, and that of all together beside it', async () => {
  for (const id of ['a', 'b']) {
    for (const group of ['user:1', 'user:2', 'vip']) await add(id, 9, { group });
  }
  await limit({ group: 'user:*', eachTenant: true }, { maxRunning: 2 });
  await limit({ group: 'user:1', eachTenant: true }, { maxRunning: 3 });
  await limit({ group: 'user:*', tenantId: 'b' }, { maxRunning: 1 });
  await limit({ group: 'user:2' }, { maxRunning: 2 });
  await limit({ group: 'vip' }, { maxRunning: 0 });
  expect(await tally(await claim(db.sql, 100))).toEqual({
    'a/user:1': 3,
    'a/user:2': 1,
    'b/user:1': 1,
    'b/user:2': 1,
  });
});

it('a rate of a group counts its starts, and those of each user of a kind by themselves', async () => {
  for (const group of ['user:1', 'user:2', 'mail']) await add('a', 9, { group });
  await limit({ group: 'user:*' }, { maxStarts: 2, perSeconds: 60 });
  await limit({ group: 'mail' }, { maxStarts: 3, perSeconds: 60, maxRunning: 2 });
  const first = await claim(db.sql, 100);
  expect(await tally(first)).toEqual({ 'a/user:1': 2, 'a/user:2': 2, 'a/mail': 2 });
  await finishAll(db.sql, first);
  expect(await tally(await claim(db.sql, 100))).toEqual({ 'a/mail': 1 });
  await db.sql`
    update purser.rate_slots set started_at = started_at - interval '61 seconds' where group_name = 'user:2'`;
  expect(await tally(await claim(db.sql, 100))).toEqual({ 'a/user:2': 2 });
});

it('the tenant of a group that is full keeps its turns for its other jobs', async () => {
  await add('a', 10, { group: 'eu', priority: 9 });
  await add('a', 10);
  await add('b', 10, { group: 'eu', priority: 9 });
  await limit({ group: 'eu' }, { maxRunning: 1 });
  const shares: Record<string, number> = {};
  for (let round = 0; round < 8; round += 1) {
    const jobs = await claim(db.sql, 1);
    for (const name of await groupsOf(jobs)) shares[name] = (shares[name] ?? 0) + 1;
    await finishAll(db.sql, jobs);
  }
  // By turns: both wait for the group, and it has room at each round.
  expect(shares).toEqual({ 'a/eu': 4, 'b/eu': 4 });
  const [held] = await claim(db.sql, 1);
  expect(await groupsOf(held === undefined ? [] : [held])).toEqual(['a/eu']);
  expect(await tally(await claim(db.sql, 4))).toEqual({ 'a/': 4 });
});

it('of a tenant with a thousand groups, all have their turn, though none ends', async () => {
  await db.sql`insert into tenants (id, plan) values ('a', 'free')`;
  await db.sql`
    insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at, group_name)
    select 'a', ${step}, 3, now() + interval '1 day', 'user:' || n
    from generate_series(1, 1000) n, generate_series(1, 2)`;
  await limit({ group: 'user:*' }, { maxRunning: 1 });
  const seen = new Set<string>();
  for (let round = 0; round < 30; round += 1) {
    for (const name of await groupsOf(await claim(db.sql, 100))) {
      expect(seen).not.toContain(name);
      seen.add(name);
    }
  }
  expect(seen.size).toBe(1_000);
});

it('dispatchers of two types at once never exceed the limits of a group, and reach them', async () => {
  for (const jobType of [step, other]) {
    await add('a', 150, { group: 'eu', jobType });
    await add('b', 150, { group: 'eu', jobType });
  }
  await limit({ group: 'eu' }, { maxRunning: 3 });
  let most = 0;
  for (let round = 0; round < 40; round += 1) {
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, n) => claim(db.system, 2, n % 2 === 0 ? step : other)),
    );
    const [row] = await db.sql<
      { count: number }[]
    >`select count(*)::int as count from purser.in_flight`;
    most = Math.max(most, row?.count ?? 0);
    await finishAll(db.sql, answers.flat());
  }
  expect(most).toBe(3);
});

it('while another dispatch starts jobs of limited groups, only those wait', async () => {
  await add('a', 5, { group: 'eu' });
  await add('a', 5, { group: 'eu', jobType: other });
  await add('a', 2, { group: 'free', jobType: other });
  await add('a', 2, { jobType: other });
  await limit({ group: 'eu' }, { maxRunning: 3 });
  await db.system.begin(async (tx) => {
    expect(await claimWaitingJobs(tx, [{ jobType: step, capacity: 2 }])).toHaveLength(2);
    expect(await tally(await claim(db.sql, 9, other))).toEqual({ 'a/free': 2, 'a/': 2 });
  });
  expect(await tally(await claim(db.sql, 9, other))).toEqual({ 'a/eu': 1 });
});

it('jobs in flight count when the limit is set later, and their end wakes the dispatch', async () => {
  await add('a', 5, { group: 'eu' });
  await claim(db.sql, 2);
  await limit({ group: 'eu' }, { maxRunning: 3 });
  expect(await db.sql`select from purser.in_flight where limited`).toHaveLength(2);
  expect(await claim(db.sql, 9)).toHaveLength(1);
});

it.each([
  [{ group: '' }, 'invalid_name'],
  [{ group: 'x'.repeat(201) }, 'invalid_name'],
  [{ group: 'a\u200bb' }, 'invalid_name'],
  [{ group: 'eu', tenantId: 'nobody' }, 'unknown_tenant'],
])('refuses a limit of %j', async (target, code) => {
  await expect(limit(target, { maxRunning: 1 })).rejects.toMatchObject({ code });
});
