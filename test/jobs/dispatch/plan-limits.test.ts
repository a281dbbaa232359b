/** Limits of starts that a plan sets: each of its tenants has one of its own in dispatch, unless it had one before. */
import { afterEach, expect, it } from 'vitest';
import { clearJobLimit, listJobLimits, setJobLimit } from '../../../src/jobs/limits/job-limits.ts';
import {
  clearPlanLimit,
  listPlanLimits,
  setPlanLimit,
} from '../../../src/jobs/limits/plan-limits.ts';
import { untilWaiting } from '../../support/holds.ts';
import { addJobType, begin, claim, flood, step } from '../job-steps.ts';
import { addWaiting, other, useDispatchDatabase } from './dispatch-database.ts';

const db = useDispatchDatabase();
afterEach(() => db.sql`delete from purser.plan_job_limits`);

const perDay = (maxStarts: number) => ({ maxStarts, perSeconds: 86_400, by: 'grace' });
const setFree = (most: number, jobType: string | null = step): Promise<unknown> =>
  setPlanLimit(db.sql, { plan: 'free', ...(jobType === null ? {} : { jobType }) }, perDay(most));

async function addTenants(plan: string, ...ids: readonly string[]): Promise<void> {
  await db.sql`insert into tenants (id, plan) select unnest(${[...ids]}::text[]), ${plan}`;
}

/** `tenant type starts` of each limit; with `plan` where they are those of the plan. */
async function limits(): Promise<string[]> {
  const rows = await db.sql<{ text: string }[]>`
    select concat_ws(' ', tenant_id, nullif(job_type, ''), max_running || ' at once', max_starts,
      case when starts_of_plan then 'plan' end) as text
    from job_limits order by 1`;
  return rows.map(({ text }) => text);
}

it('hold each tenant of the plan back until its window has room, in that type alone, and no other', async () => {
  await addTenants('free', 'a', 'b');
  await addTenants('pro', 'c');
  await setFree(2);
  await addTenants('free', 'd');
  expect(await limits()).toEqual(['a', 'b', 'd'].map((id) => `${id} ${step} 2 plan`));
  await addWaiting(db.sql, ['a', 'b', 'c', 'd'], 4);
  await flood(db.sql, 'a', 4, { jobType: other });
  const jobs = await claim(db.sql, 100);
  const counts = ['a', 'b', 'c', 'd'].map(
    (id) => jobs.filter(({ tenantId }) => tenantId === id).length,
  );
  expect(counts).toEqual([2, 2, 4, 2]);
  expect(await claim(db.sql, 100, other)).toHaveLength(4);
  for (const job of jobs) await begin(db.sql, job);
  expect(await claim(db.sql, 100)).toHaveLength(0);
  expect(await listPlanLimits(db.sql)).toMatchObject([
    { plan: 'free', jobType: step, maxStarts: 2, perSeconds: 86_400, tenants: 3, by: 'grace' },
  ]);
  expect(await listJobLimits(db.sql)).toEqual([]);
  expect(await listJobLimits(db.sql, 'a')).toMatchObject([{ ofPlan: true, started: 2 }]);

  await db.sql`
    update purser.rate_slots set started_at = started_at - interval '1 day' where tenant_id = 'b'`;
  expect(await claim(db.sql, 100)).toHaveLength(2);
  // A higher plan, and a higher limit.
  await db.sql`update tenants set plan = 'pro' where id = 'a'`;
  expect(await claim(db.sql, 100)).toHaveLength(2);
  await setFree(3);
  expect(await limits()).toEqual(['b', 'd'].map((id) => `${id} ${step} 3 plan`));
  expect(await claim(db.sql, 100)).toHaveLength(1);
  await db.sql`update tenants set plan = 'free' where id = 'c'`;
  expect(await limits()).toHaveLength(3);
  expect(await clearPlanLimit(db.sql, { plan: 'free', jobType: step })).toBeDefined();
  expect(await clearPlanLimit(db.sql, { plan: 'free', jobType: step })).toBeUndefined();
  expect(await limits()).toEqual([]);
  expect(await claim(db.sql, 100)).toHaveLength(1);
});

it("do not touch a tenant's own limit of starts, stand beside its limit of running jobs, and count where that ends", async () => {
  await addTenants('free', 'a', 'b');
  await setJobLimit(db.sql, { tenantId: 'a', jobType: step }, perDay(9));
  await setJobLimit(db.sql, { tenantId: 'b', jobType: step }, { maxRunning: 1, by: 'x' });
  await setFree(2);
  await setFree(50, null);
  const ofAll = ['a 50 plan', 'b 50 plan'];
  expect(await limits()).toEqual(
    [...ofAll, `a ${step} 9`, `b ${step} 1 at once 2 plan`].toSorted(),
  );
  await setFree(3);
  // Its own in place of the plan's, and none any more.
  await setJobLimit(db.sql, { tenantId: 'b', jobType: step }, perDay(1));
  await clearJobLimit(db.sql, { tenantId: 'a', jobType: step });
  expect(await limits()).toEqual(
    [...ofAll, `a ${step} 3 plan`, `b ${step} 1 at once 1`].toSorted(),
  );
  expect(await clearJobLimit(db.sql, { tenantId: 'a', jobType: step })).toBeUndefined();
  expect(await clearJobLimit(db.sql, { tenantId: 'b', jobType: step })).toBeDefined();
  await setJobLimit(db.sql, { tenantId: 'a', jobType: step }, { maxRunning: 7, by: 'x' });
  expect(await limits()).toEqual(
    [...ofAll, `a ${step} 7 at once 3 plan`, `b ${step} 3 plan`].toSorted(),
  );
  await clearPlanLimit(db.sql, { plan: 'free', jobType: step });
  await clearPlanLimit(db.sql, { plan: 'free' });
  expect(await limits()).toEqual([`a ${step} 7 at once`]);
});

it('meet a tenant that is added, or whose plan changes, at the same moment', async () => {
  await addTenants('pro', 'moved', 'leaving');
  await addTenants('starter', 'left');
  const expected = ['added', 'late', 'moved'].map((id) => `${id} ${step} 2 plan`);
  // First they, then the limit.
  let setting: Promise<unknown> | undefined;
  await db.system.begin(async (tx) => {
    await tx`insert into tenants (id, plan) values ('added', 'free')`;
    await tx`update tenants set plan = 'free' where id = 'moved'`;
    setting = setFree(2);
    await untilWaiting(db.system, 1);
  });
  await setting;
  await addTenants('free', 'late');
  // One that leaves the plan.
  await db.system.begin(async (tx) => {
    await tx`update tenants set plan = 'pro' where id = 'left'`;
    setting = setPlanLimit(db.sql, { plan: 'starter', jobType: step }, perDay(2));
    await untilWaiting(db.system, 1);
  });
  await setting;
  // First the limit, then they.
  let adding: PromiseLike<unknown> | undefined;
  await db.system.begin(async (tx) => {
    await tx`
      insert into purser.plan_job_limits (plan, job_type, max_starts, per_seconds, by)
      values ('pro', ${other}, 9, 60, 'grace')`;
    adding = db.system`insert into tenants (id, plan) values ('late pro', 'pro')`.execute();
    await untilWaiting(db.system, 1);
  });
  await adding;
  expect(await limits()).toEqual(
    [
      ...expected,
      ...['late pro', 'leaving', 'left'].map((id) => `${id} ${other} 9 plan`),
    ].toSorted(),
  );
});

it('go with their tenant and their type, name what is unknown, and cost a tenant nothing where there is none', async () => {
  await addTenants('free', 'a');
  expect(await limits()).toEqual([]);
  await addJobType(db.sql, 'passing');
  await setFree(2, 'passing');
  await setFree(2);
  await db.sql`delete from job_types where job_type = 'passing'`;
  expect(await limits()).toEqual([`a ${step} 2 plan`]);
  await db.sql`delete from tenants`;
  expect(await limits()).toEqual([]);
  await expect(setPlanLimit(db.sql, { plan: 'gold' }, perDay(1))).rejects.toMatchObject({
    code: 'unknown_plan',
    message: expect.stringMatching(/gold.*use one of enterprise, free, growth, pro, starter/),
  });
  await expect(clearPlanLimit(db.sql, { plan: 'free', jobType: 'nope' })).rejects.toMatchObject({
    code: 'unknown_job_type',
  });
});
