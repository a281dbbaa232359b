/** Whose jobs a dispatch takes: by turns of the tenants, in each job type by itself. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { claimWaitingJobs } from '../../../src/jobs/dispatch.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJob, addJobType, claim, flood, step } from '../job-steps.ts';

let test: TestDatabase;

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
  await addJobType(test.sql, 'test_other');
});
afterEach(async () => {
  await test.sql`delete from tenants`;
  await test.sql`delete from purser.dispatch_turns`;
});
afterAll(() => test.close());

describe('dispatch order', () => {
  it('serves a tenant in the next round, although another one has 20,000 older jobs', async () => {
    const [greedy, patient] = [await addTenant(test.sql), await addTenant(test.sql)];
    await flood(test.sql, greedy, 20_000);
    expect((await claim(test.sql, 4)).map(({ tenantId }) => tenantId)).toEqual(
      Array.from({ length: 4 }, () => greedy),
    );
    const jobId = await addJob(test.sql, patient);
    expect((await claim(test.sql, 1)).map((job) => job.jobId)).toEqual([jobId]);
  });

  it('serves all tenants in turn when the capacity is one job at a time', async () => {
    const tenants = [];
    for (let n = 0; n < 3; n += 1) tenants.push(await addTenant(test.sql));
    for (const tenantId of tenants) await flood(test.sql, tenantId, 20);
    const served = [];
    for (let round = 0; round < 9; round += 1) {
      const [job] = await claim(test.sql, 1);
      served.push(job?.tenantId);
    }
    for (const tenantId of tenants) {
      expect(served.filter((candidate) => candidate === tenantId)).toHaveLength(3);
    }
  });

  it('goes on after a tenant that has no jobs any more', async () => {
    const tenants = [];
    for (let n = 0; n < 3; n += 1) tenants.push(await addTenant(test.sql));
    const [first = '', second = '', third = ''] = tenants.toSorted();
    await flood(test.sql, first, 1);
    for (const tenantId of [second, third]) await flood(test.sql, tenantId, 4);
    const served = [];
    for (const room of [1, 4, 3]) {
      served.push((await claim(test.sql, room)).map(({ tenantId }) => tenantId));
    }
    expect(served).toEqual([[first], [second, third, second, third], [second, third, second]]);
  });

  it('does not prefer a tenant whose jobs have a high priority', async () => {
    const [loud, quiet] = [await addTenant(test.sql), await addTenant(test.sql)];
    await flood(test.sql, loud, 50, { priority: 1_000 });
    await flood(test.sql, quiet, 2, { priority: -1_000 });
    const served = [];
    for (let round = 0; round < 4; round += 1) served.push((await claim(test.sql, 1))[0]?.tenantId);
    expect(served.filter((tenantId) => tenantId === quiet)).toHaveLength(2);
  });

  it('serves a tenant in turn in one type, however often it is served in another', async () => {
    const tenants = [];
    for (let n = 0; n < 4; n += 1) tenants.push(await addTenant(test.sql));
    for (const tenantId of tenants) await flood(test.sql, tenantId, 20, { jobType: 'test_other' });
    const [, busy = '', , busier = ''] = tenants.toSorted();
    await flood(test.sql, busy, 100);
    await flood(test.sql, busier, 100);
    const served: string[] = [];
    for (let round = 0; round < 12; round += 1) {
      const jobs = await claimWaitingJobs(test.sql, [
        { jobType: step, capacity: 1 + (round % 3) },
        { jobType: 'test_other', capacity: 1 },
      ]);
      served.push(...jobs.filter((job) => job.jobType === 'test_other').map((job) => job.tenantId));
    }
    const turns = tenants.map((tenantId) => served.filter((each) => each === tenantId).length);
    expect(turns).toEqual([3, 3, 3, 3]);
  });

  it('takes the jobs of one tenant by priority, then by due time', async () => {
    const tenantId = await addTenant(test.sql);
    const early = new Date(Date.now() - 60_000);
    const low = await addJob(test.sql, tenantId, { priority: -5 });
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
  for (const tenantId of tenants) await flood(test.sql, tenantId, 10);
  const served = (await claim(test.sql, 5)).map(({ tenantId }) => tenantId);
  const [first, second] = tenants;
  expect(served).toEqual([first, second, first, second, first]);
});

it('a tenant with many jobs gets only the room that the jobs of the others leave, whoever is first', async () => {
  const tenants: string[] = [];
  for (let n = 0; n < 3; n += 1) tenants.push(await addTenant(test.sql));
  // The one with many has the first turn.
  const [many = '', few = '', one = ''] = tenants.toSorted();
  await flood(test.sql, many, 30);
  await flood(test.sql, few, 3);
  await flood(test.sql, one, 1);
  const served = (await claim(test.sql, 10)).map(({ tenantId }) => tenantId);
  expect(served).toEqual([many, few, one, many, few, many, few, many, many, many]);
});

it('each of 250 tenants has a job before any has two, with room for more of them, or for fewer', async () => {
  const tenants = Array.from({ length: 250 }, () => `t-${randomUUID()}`).toSorted();
  await test.sql`insert into tenants (id, plan) select unnest(${tenants}::text[]), 'free'`;
  await test.sql`
    insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at)
    select t.id, ${step}, 3, now() + interval '1 day'
    from unnest(${tenants}::text[]) t (id) cross join generate_series(1, 4)`;
  const turns: string[] = [];
  for (const room of [240, 1, 19, 330, 7, 153]) {
    turns.push(...(await claim(test.sql, room)).map(({ tenantId }) => tenantId));
  }
  expect(turns).toEqual([...tenants, ...tenants, ...tenants]);
});
