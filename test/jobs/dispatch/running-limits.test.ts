/** Limits on the jobs of a tenant, of a type and of a tenant in a type that are queued or run. */
import { expect, it } from 'vitest';
import { claimWaitingJobs } from '../../../src/jobs/dispatch.ts';
import { returnToPending } from '../../../src/jobs/queued.ts';
import { addJob, begin, claim, finish, flood, step } from '../job-steps.ts';
import { other, useDispatchDatabase } from './dispatch-database.ts';

const db = useDispatchDatabase();

async function add(id: string, jobs: number, jobType = step): Promise<void> {
  await db.sql`insert into tenants (id, plan) values (${id}, 'free') on conflict do nothing`;
  await flood(db.sql, id, jobs, { jobType });
}

async function limit(tenantId: string, jobType: string, most: number): Promise<void> {
  await db.sql`
    insert into job_limits (tenant_id, job_type, max_running) values (${tenantId}, ${jobType}, ${most})`;
}

const tenantsOf = (jobs: readonly { readonly tenantId: string }[]): string =>
  jobs.map(({ tenantId }) => tenantId).join('');

const claimBoth = (room: number) =>
  claimWaitingJobs(db.sql, [
    { jobType: step, capacity: room },
    { jobType: other, capacity: room },
  ]);

it('a tenant has no more jobs in flight than its limit, and another one as soon as one has ended', async () => {
  await add('a', 20);
  await add('b', 4);
  await limit('a', '', 3);
  const first = await claim(db.sql, 10);
  expect(tenantsOf(first)).toBe('abababb');
  expect(await claim(db.sql, 10)).toEqual([]);
  const [one] = first;
  if (one === undefined) throw new Error('nothing claimed');
  await finish(db.sql, await begin(db.sql, one));
  expect(tenantsOf(await claim(db.sql, 10))).toBe('a');
});

it('a queued job that goes back, and one whose worker died, make room', async () => {
  await add('a', 20);
  await limit('a', step, 2);
  const [first, second] = await claim(db.sql, 10);
  if (first === undefined || second === undefined) throw new Error('not claimed');
  await returnToPending(db.sql, [first], 'queue entry lost');
  await begin(db.sql, second, -1_000);
  await db.sql`select purser.rescue_attempts(null, '0', 100, 2, 600)`;
  expect(await claim(db.sql, 10)).toHaveLength(2);
});

it('a limit of a type holds for all tenants together, and leaves other types alone', async () => {
  await add('a', 20);
  await add('b', 20);
  await add('a', 5, other);
  await limit('', step, 3);
  expect(tenantsOf(await claim(db.sql, 2))).toBe('ab');
  expect(tenantsOf(await claim(db.sql, 10))).toBe('a');
  expect(await claim(db.sql, 10)).toEqual([]);
  expect(await claim(db.sql, 10, other)).toHaveLength(5);
});

it('a limit of a tenant holds for all types together, also within one round', async () => {
  await add('a', 20);
  await add('a', 20, other);
  await add('b', 20, other);
  await limit('a', '', 3);
  const claimed = await claimBoth(2);
  expect(claimed.filter(({ tenantId }) => tenantId === 'a')).toHaveLength(3);
  expect(claimed).toHaveLength(4);
});

it('the lowest of several limits counts', async () => {
  await add('a', 20);
  await add('a', 20, other);
  await limit('a', '', 5);
  await limit('a', step, 2);
  await limit('', other, 4);
  const claimed = await claimBoth(10);
  const count = (jobType: string) => claimed.filter((job) => job.jobType === jobType).length;
  // In the order of the types: the tenant's five are used up by four and one.
  expect([count(other), count(step)]).toEqual([4, 1]);
});

it('jobs in flight count when the limit is set later', async () => {
  await add('a', 20);
  await add('a', 20, other);
  expect(await claimBoth(2)).toHaveLength(4);
  await limit('a', '', 5);
  expect(await claimBoth(10)).toHaveLength(1);
});

it('a limit of 0 lets nothing start, a raised one more, and none any number', async () => {
  await add('a', 20);
  await limit('a', '', 0);
  expect(await claim(db.sql, 10)).toEqual([]);
  await db.sql`update job_limits set max_running = 2`;
  expect(await claim(db.sql, 10)).toHaveLength(2);
  await db.sql`delete from job_limits`;
  expect(await claim(db.sql, 10)).toHaveLength(10);
});

it('three hundred tenants at their limits hide nobody: the round goes on behind them', async () => {
  const full = Array.from({ length: 300 }, (_, n) => `full-${n}`);
  await db.sql`insert into tenants (id, plan) select unnest(${full}::text[]), 'free'`;
  await db.sql`
    insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at)
    select t.id, ${step}, 3, now() + interval '1 day' from unnest(${full}::text[]) t (id), generate_series(1, 2)`;
  await db.sql`
    insert into job_limits (tenant_id, max_running) select unnest(${full}::text[]), 1`;
  await claim(db.sql, 1_000);
  await add('late', 5);
  expect(tenantsOf(await claim(db.sql, 3))).toBe('latelatelate');
});

it('a tenant at its limit loses no turn of the others and keeps its weight for later', async () => {
  await add('a', 20);
  await add('b', 20);
  await add('c', 20);
  await limit('b', '', 1);
  expect(tenantsOf(await claim(db.sql, 7))).toBe('abcacac');
});

it('while another round looks at the limit of a tenant, only that tenant waits, and is served next', async () => {
  await add('a', 20);
  await add('a', 20, other);
  await add('b', 20, other);
  await add('c', 20, other);
  await limit('a', '', 3);
  await db.system.begin(async (tx) => {
    expect(await claimWaitingJobs(tx, [{ jobType: step, capacity: 2 }])).toHaveLength(2);
    expect(tenantsOf(await claim(db.sql, 1, other))).toBe('b');
  });
  expect(tenantsOf(await claim(db.sql, 1, other))).toBe('a');
  expect(tenantsOf(await claim(db.sql, 4, other))).toBe('cbcb');
});

it('dispatchers of two types at once never exceed the limit of a tenant, and reach it', async () => {
  await add('a', 150);
  await add('a', 150, other);
  await limit('a', '', 3);
  let most = 0;
  for (let round = 0; round < 40; round += 1) {
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, n) => claim(db.system, 2, n % 2 === 0 ? step : other)),
    );
    const [row] = await db.sql<{ count: number }[]>`
      select count(*)::int as count from purser.in_flight where tenant_id = 'a'`;
    const count = row?.count ?? 0;
    most = Math.max(most, count);
    const jobs = answers.flat();
    for (const job of jobs) await finish(db.sql, await begin(db.sql, job));
  }
  expect(most).toBe(3);
});

it('a limit of nobody, of an unknown tenant or below nothing is refused', async () => {
  await expect(limit('', '', 1)).rejects.toMatchObject({ code: '23514' });
  await expect(limit('nobody', '', 1)).rejects.toMatchObject({ code: '23503' });
  await expect(limit('', 'no_type', 1)).rejects.toMatchObject({ code: '23503' });
  await expect(limit('', step, -1)).rejects.toMatchObject({ code: '23514' });
});

it('the limits of a tenant go with it', async () => {
  await add('a', 1);
  await limit('a', '', 1);
  await addJob(db.sql, 'a');
  await db.sql`delete from tenants where id = 'a'`;
  expect(await db.sql`select from job_limits`).toHaveLength(0);
});
