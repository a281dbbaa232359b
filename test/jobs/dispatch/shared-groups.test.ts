/** Groups that several tenants and types share, and tenants with many groups: everybody has a turn. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { Database } from '../../../src/db/database.ts';
import { claimWaitingJobs } from '../../../src/jobs/dispatch.ts';
import type { DispatchedJob } from '../../../src/jobs/dispatch.ts';
import { setJobLimit } from '../../../src/jobs/limits/job-limits.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addJobType, begin, claim, finish, step } from '../job-steps.ts';

const other = 'test_other';
let test: TestDatabase;
let database: Database;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ systemConnections: 3 });
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

/** So many jobs of each of the tenants, in each of the groups. */
async function add(
  ids: readonly string[],
  jobs: number,
  groups: readonly string[] = [''],
  { jobType = step, priority = 0 } = {},
): Promise<void> {
  await test.sql`
    insert into tenants (id, plan) select unnest(${ids}::text[]), 'free' on conflict do nothing`;
  await test.sql`
    with made as (
      insert into jobs (tenant_id, job_type, max_attempts, priority, group_name)
      select t.id, ${jobType}, 3, ${priority}, g.name
      from unnest(${ids}::text[]) t (id), unnest(${groups}::text[]) g (name), generate_series(1, ${jobs}::int)
      returning id, tenant_id, group_name)
    insert into purser.waiting (job_id, tenant_id, job_type, group_name, priority, scheduled_for, give_up_at)
    select id, tenant_id, ${jobType}, group_name, ${priority}, now(), now() + interval '1 day' from made`;
}

async function finishAll(jobs: readonly DispatchedJob[]): Promise<void> {
  for (const job of jobs) await finish(test.sql, await begin(test.sql, job));
}

function tally(
  jobs: readonly DispatchedJob[],
  of: 'tenantId' | 'jobType' = 'tenantId',
): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const job of jobs) counts[job[of]] = (counts[job[of]] ?? 0) + 1;
  return counts;
}

/** What rounds with this room dispatch, each of whose jobs end before the next one. */
async function rounds(count: number, room: number): Promise<DispatchedJob[]> {
  const all: DispatchedJob[] = [];
  for (let round = 0; round < count; round += 1) {
    const jobs = await claim(test.sql, room);
    await finishAll(jobs);
    all.push(...jobs);
  }
  return all;
}

it('tenants of a group have its room by turns, in rounds that it does not fill', async () => {
  await add(['a', 'b', 'c'], 50, ['eu']);
  await setJobLimit(test.sql, { group: 'eu' }, { maxRunning: 1, by: 'test' });
  expect(tally(await rounds(12, 10))).toEqual({ a: 4, b: 4, c: 4 });
  await test.sql`update job_limits set max_running = 2`;
  expect(tally(await rounds(6, 10))).toEqual({ a: 4, b: 4, c: 4 });
});

it('the starts of a group are those of all its tenants', async () => {
  const ids = Array.from({ length: 20 }, (_, n) => `tenant-${n}`);
  await add(ids, 3, ['eu']);
  await setJobLimit(test.sql, { group: 'eu' }, { maxStarts: 30, perSeconds: 60, by: 'test' });
  const first = await claim(test.sql, 20);
  expect(Object.keys(tally(first))).toHaveLength(20);
  expect(await claim(test.sql, 20)).toHaveLength(10);
  expect(await claim(test.sql, 20)).toEqual([]);
});

it('a tenant whose other jobs come first holds no seat of its group', async () => {
  await add(['a', 'c'], 200);
  await add(['a'], 5, ['eu'], { priority: -10 });
  await add(['b'], 50, ['eu']);
  await setJobLimit(test.sql, { group: 'eu' }, { maxRunning: 1, by: 'test' });
  expect(tally(await rounds(6, 4))).toEqual({ a: 9, b: 6, c: 9 });
});

it.each([{ group: 'eu' }, { tenantId: 'a' }])(
  'types share a limit of %j by turns',
  async (target) => {
    await add(['a'], 50, ['eu']);
    await add(['a'], 50, ['eu'], { jobType: other });
    await setJobLimit(test.sql, target, { maxRunning: 2, by: 'test' });
    const all: DispatchedJob[] = [];
    for (let round = 0; round < 10; round += 1) {
      const jobs = await claimWaitingJobs(test.sql, [
        { jobType: step, capacity: 5 },
        { jobType: other, capacity: 5 },
      ]);
      await finishAll(jobs);
      all.push(...jobs);
    }
    expect(tally(all, 'jobType')).toEqual({ [step]: 10, [other]: 10 });
  },
);

it('rounds that may start no job of a limited group move nobody past one', async () => {
  await add(
    ['a'],
    2,
    Array.from({ length: 200 }, (_, n) => `user:${n}`),
  );
  await setJobLimit(test.sql, { group: 'user:*' }, { maxRunning: 1, by: 'test' });
  const seen: DispatchedJob[] = [];
  for (let round = 0; round < 20; round += 1) {
    const waiting = await database.system.begin(async (tx) => {
      await tx`select from purser.limit_locks where name = 'groups' for update`;
      return claim(test.sql, 10);
    });
    expect(waiting).toEqual([]);
    seen.push(...(await claim(test.sql, 10)));
  }
  expect(seen).toHaveLength(200);
});

it('hundreds of tenants whose groups are all full hide no tenant behind them', async () => {
  const full = Array.from({ length: 100 }, (_, n) => `full-${n}`);
  await add(
    full,
    1,
    Array.from({ length: 60 }, (_, n) => `user:${n}`),
  );
  await add(['late'], 5);
  await setJobLimit(test.sql, { group: 'user:*' }, { maxRunning: 0, by: 'test' });
  expect(tally(await rounds(10, 3))).toEqual({ late: 5 });
});
