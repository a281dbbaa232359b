import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Database } from '../../src/db/database.ts';
import { claimWaitingJobs } from '../../src/jobs/dispatch.ts';
import { countQueued, listOldQueued, returnToPending } from '../../src/jobs/queued.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { addJob, addJobType, begin, claim, eventually, finish, step } from './job-steps.ts';

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
});
afterAll(() => test.close());

/** Thousands of waiting jobs of one tenant, older than anything enqueued later. */
async function flood(tenantId: string, count: number, priority = 0): Promise<void> {
  await test.sql`
    insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at, priority)
    select ${tenantId}, ${step}, 3, now() + interval '1 day', ${priority}
    from generate_series(1, ${count}::int)`;
}

describe('dispatch order', () => {
  it('serves a tenant in the next round, although another one has 20,000 older jobs', async () => {
    const [greedy, patient] = [await addTenant(test.sql), await addTenant(test.sql)];
    await flood(greedy, 20_000);
    expect((await claim(test.sql, 4)).map(({ tenantId }) => tenantId)).toEqual(
      Array.from({ length: 4 }, () => greedy),
    );
    const jobId = await addJob(test.sql, patient);
    expect((await claim(test.sql, 1)).map((job) => job.jobId)).toEqual([jobId]);
  });

  it('serves all tenants in turn when the capacity is one job at a time', async () => {
    const tenants = [];
    for (let n = 0; n < 3; n += 1) tenants.push(await addTenant(test.sql));
    for (const tenantId of tenants) await flood(tenantId, 20);
    const served = [];
    for (let round = 0; round < 9; round += 1) {
      const [job] = await claim(test.sql, 1);
      served.push(job?.tenantId);
    }
    for (const tenantId of tenants) {
      expect(served.filter((candidate) => candidate === tenantId)).toHaveLength(3);
    }
  });

  it('does not prefer a tenant whose jobs have a high priority', async () => {
    const [loud, quiet] = [await addTenant(test.sql), await addTenant(test.sql)];
    await flood(loud, 50, 1_000);
    await flood(quiet, 2, -1_000);
    const served = [];
    for (let round = 0; round < 4; round += 1) served.push((await claim(test.sql, 1))[0]?.tenantId);
    expect(served.filter((tenantId) => tenantId === quiet)).toHaveLength(2);
  });

  it('takes the jobs of one tenant by priority, then by due time', async () => {
    const tenantId = await addTenant(test.sql);
    const early = new Date(Date.now() - 60_000);
    const low = await addJob(test.sql, tenantId, { priority: -5, runAt: new Date(0) });
    const late = await addJob(test.sql, tenantId);
    const first = await addJob(test.sql, tenantId, { runAt: early });
    const high = await addJob(test.sql, tenantId, { priority: 5 });
    const order = [];
    for (let round = 0; round < 4; round += 1) order.push((await claim(test.sql, 1))[0]?.jobId);
    expect(order).toEqual([high, first, late, low]);
  });
});

it('every tenant gets its first job before any tenant gets its second, also in the order of the queue', async () => {
  const tenants = [await addTenant(test.sql), await addTenant(test.sql)].toSorted();
  for (const tenantId of tenants) await flood(tenantId, 10);
  const served = (await claim(test.sql, 5)).map(({ tenantId }) => tenantId);
  const [first, second] = tenants;
  expect(served).toEqual([first, second, first, second, first]);
});

it('a tenant with many jobs gets only the room that the jobs of the others leave, whoever is first', async () => {
  const tenants: string[] = [];
  for (let n = 0; n < 3; n += 1) tenants.push(await addTenant(test.sql));
  // The one with many has the first turn.
  const [many = '', few = '', one = ''] = tenants.toSorted();
  await flood(many, 30);
  await flood(few, 3);
  await flood(one, 1);
  const served = (await claim(test.sql, 10)).map(({ tenantId }) => tenantId);
  expect(served).toEqual([many, few, one, many, few, many, few, many, many, many]);
});

it('no more jobs are claimed than the capacity of their type', async () => {
  for (let n = 0; n < 3; n += 1) {
    const tenantId = await addTenant(test.sql);
    await flood(tenantId, 10);
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
  for (const tenantId of tenants) await flood(tenantId, 15);
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

it('a tenant that another dispatcher has locked is skipped without waiting, and keeps its turn', async () => {
  const [busy, free] = [await addTenant(test.sql), await addTenant(test.sql)];
  await flood(busy, 2);
  await flood(free, 2);
  await database.system.begin(async (tx) => {
    await tx`select from tenant_queues where tenant_id = ${busy} for no key update`;
    expect((await claim(test.sql, 1)).map(({ tenantId }) => tenantId)).toEqual([free]);
  });
  expect((await claim(test.sql, 1)).map(({ tenantId }) => tenantId)).toEqual([busy]);
});

it('a tenant of which every job is locked keeps its turn', async () => {
  const [busy, free] = [await addTenant(test.sql), await addTenant(test.sql)];
  await flood(busy, 1);
  await flood(free, 2);
  await database.system.begin(async (tx) => {
    await tx`select from purser.waiting where tenant_id = ${busy} for update`;
    expect((await claim(test.sql, 2)).map(({ tenantId }) => tenantId)).toEqual([free]);
  });
  expect((await claim(test.sql, 1)).map(({ tenantId }) => tenantId)).toEqual([busy]);
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

it('an enqueue never waits for a dispatcher', async () => {
  const tenantId = await addTenant(test.sql);
  await addJob(test.sql, tenantId);
  await database.system.begin(async (tx) => {
    await tx`select from tenant_queues where tenant_id = ${tenantId} for no key update`;
    await tx`update tenant_queues set last_dispatched_at = now() where tenant_id = ${tenantId}`;
    await addJob(test.sql, tenantId);
  });
  expect(await claim(test.sql)).toHaveLength(2);
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
    await flood(tenantId, 1_000);
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
  const next = async () => {
    // Served longest ago, so that its turn comes first.
    await test.sql`
      update tenant_queues set last_dispatched_at = '-infinity' where tenant_id = ${tenantId}`;
    return (await claim(database.system, 1))[0]?.jobId;
  };
  expect(await next()).toBe(first);
  await test.sql`update purser.later set scheduled_for = now() where job_id = ${postponed}`;
  expect(await next()).toBe(postponed);
  expect(await next()).toBe(last);
});
