import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Database } from '../../../src/db/database.ts';
import { claimWaitingJobs } from '../../../src/jobs/dispatch.ts';
import { countQueued, listOldQueued, returnToPending } from '../../../src/jobs/queued.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJob, addJobType, begin, claim, eventually, finish, flood, step } from '../job-steps.ts';

let test: TestDatabase;
let database: Database;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ systemConnections: 6 });
  await addJobType(test.sql);
  await addJobType(test.sql, 'test_other');
});
afterEach(async () => {
  await test.sql`delete from tenants`;
  await test.sql`delete from purser.dispatch_turns`;
});
afterAll(() => test.close());

it('no more jobs are claimed than the capacity of their type', async () => {
  for (let n = 0; n < 3; n += 1) {
    const tenantId = await addTenant(test.sql);
    await flood(test.sql, tenantId, 10);
    for (let jobs = 0; jobs < 3; jobs += 1) {
      await addJob(test.sql, tenantId, { jobType: 'test_other' });
    }
  }
  const claimed = await claimWaitingJobs(test.sql, [
    { jobType: step, capacity: 7 },
    { jobType: 'test_other', capacity: 2 },
  ]);
  const count = (jobType: string) => claimed.filter((job) => job.jobType === jobType).length;
  expect([count(step), count('test_other')]).toEqual([7, 2]);
  expect(await countQueued(test.sql)).toEqual(
    new Map([
      [step, 7],
      ['test_other', 2],
    ]),
  );
  expect(await claimWaitingJobs(test.sql, [{ jobType: step, capacity: 0 }])).toEqual([]);
});

it('six dispatchers at once never claim a job twice and together claim all', async () => {
  const tenants = [];
  for (let n = 0; n < 20; n += 1) tenants.push(await addTenant(test.sql));
  for (const tenantId of tenants) await flood(test.sql, tenantId, 15);
  const claimed: string[] = [];
  for (let rounds = 0; claimed.length < 300 && rounds < 100; rounds += 1) {
    const answers = await Promise.all(Array.from({ length: 6 }, () => claim(database.system, 10)));
    claimed.push(...answers.flat().map(({ jobId }) => jobId));
  }
  expect(claimed).toHaveLength(300);
  expect(new Set(claimed).size).toBe(300);
  const [dispatches] = await test.sql`
    select min(times)::int as least, max(times)::int as most from (
      select count(*) as times from job_events where to_state = 'queued' group by job_id) d`;
  expect(dispatches).toEqual({ least: 1, most: 1 });
});

it('a job locked by another transaction is skipped, and the jobs of other tenants are claimed', async () => {
  const [slow, free] = [await addTenant(test.sql), await addTenant(test.sql)];
  const dedupKey = 'one';
  const replaced = await addJob(test.sql, slow, { dedupKey });
  const jobId = await addJob(test.sql, free);
  await database.system.begin(async (tx) => {
    await addJob(tx, slow, { dedupKey, onDuplicate: 'replace', payload: { newer: true } });
    expect((await claim(test.sql)).map((job) => job.jobId)).toEqual([jobId]);
  });
  expect((await claim(test.sql)).map((job) => job.jobId)).toEqual([replaced]);
});

it('jobs that go back while their tenant is deleted go with it', async () => {
  const tenantId = await addTenant(test.sql);
  await addJob(test.sql, tenantId);
  const jobs = await claim(test.sql);
  let deleted: Promise<unknown> = Promise.resolve();
  await database.system.begin(async (tx) => {
    expect(await returnToPending(tx, jobs, 'queue entry lost')).toBe(1);
    deleted = test.sql`delete from tenants where id = ${tenantId}`.execute();
    await eventually('the deletion to wait for the job', async () => {
      const [row] = await database.system`
        select from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query like 'delete from tenants%'`;
      return row;
    });
  });
  await deleted;
  expect(await test.sql`select from purser.waiting`).toHaveLength(0);
});

it('an enqueue never waits for a dispatcher', async () => {
  const tenantId = await addTenant(test.sql);
  await addJob(test.sql, tenantId);
  await database.system.begin(async (tx) => {
    expect(await claimWaitingJobs(tx, [{ jobType: step, capacity: 1 }])).toHaveLength(1);
    await addJob(test.sql, tenantId);
  });
  expect(await claim(test.sql)).toHaveLength(1);
});

describe('a lost entry', () => {
  it('is listed only after its job has been queued for the given time', async () => {
    const tenantId = await addTenant(test.sql);
    await addJob(test.sql, tenantId);
    const [job] = await claim(test.sql);
    expect(await listOldQueued(test.sql, 10_000)).toEqual([]);
    expect(await listOldQueued(test.sql, -50_000)).toEqual([
      { jobId: job?.jobId, jobType: step, entryId: job?.entryId },
    ]);
  });

  it('is found although a thousand older jobs are queued', async () => {
    const tenantId = await addTenant(test.sql);
    await flood(test.sql, tenantId, 1_000);
    await claim(test.sql, 1_000);
    const jobId = await addJob(test.sql, tenantId);
    await claim(test.sql);
    const looked = await eventually('the newest to be looked at', async () =>
      (await listOldQueued(test.sql, -50_000)).find((job) => job.jobId === jobId),
    );
    expect(looked).toMatchObject({ jobId, entryId: expect.any(String) });
  });

  it('returns its job to pending, unless the job was dispatched again or has begun', async () => {
    const tenantId = await addTenant(test.sql);
    await addJob(test.sql, tenantId);
    const [job] = await claim(test.sql);
    if (job === undefined) throw new Error('not claimed');
    expect(await returnToPending(test.sql, [job], 'queue entry lost')).toBe(1);
    const [again] = await claim(test.sql);
    if (again === undefined) throw new Error('not claimed again');
    expect(again.entryId).not.toBe(job.entryId);
    expect(await returnToPending(test.sql, [job], 'queue entry lost')).toBe(0);
    const attempt = await begin(test.sql, again);
    expect(await returnToPending(test.sql, [again], 'queue entry lost')).toBe(0);
    expect(await finish(test.sql, attempt)).toBe('applied');
  });
});

it('a job is dispatched once its time has come, and then by its priority', async () => {
  const tenantId = await addTenant(test.sql);
  const [first, last] = [await addJob(test.sql, tenantId), await addJob(test.sql, tenantId)];
  const runAt = new Date(Date.now() + 60_000);
  const postponed = await addJob(test.sql, tenantId, { runAt, priority: 5 });
  const next = async () => (await claim(database.system, 1))[0]?.jobId;
  expect(await next()).toBe(first);
  await test.sql`update purser.later set scheduled_for = now() where job_id = ${postponed}`;
  expect(await next()).toBe(postponed);
  expect(await next()).toBe(last);
});
