/** Turns of tenants while other transactions hold their jobs, or another dispatcher the type. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { Database } from '../../../src/db/database.ts';
import { claimWaitingJobs } from '../../../src/jobs/dispatch.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJob, addJobType, claim, flood, step } from '../job-steps.ts';

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

it('a type that another dispatcher serves is left out without waiting, and its turns stay', async () => {
  const [first = '', second = ''] = [
    await addTenant(test.sql),
    await addTenant(test.sql),
  ].toSorted();
  for (const tenantId of [first, second]) {
    await flood(test.sql, tenantId, 2);
    await flood(test.sql, tenantId, 3, { jobType: 'test_other' });
  }
  const capacities = [step, 'test_other'].map((jobType) => ({ jobType, capacity: 1 }));
  const served = async () =>
    (await claimWaitingJobs(test.sql, capacities))
      .map((job) => `${job.jobType} ${job.tenantId}`)
      .toSorted();
  expect(await served()).toEqual([`test_other ${first}`, `${step} ${first}`]);
  await database.system.begin(async (tx) => {
    await tx`select from purser.dispatch_turns where job_type = ${step} for update`;
    expect(await served()).toEqual([`test_other ${second}`]);
    // As a dispatch that has served the type and has not committed.
    await tx`update purser.dispatch_turns set dispatched_at = now() where job_type = ${step}`;
    expect(await served()).toEqual([`test_other ${first}`]);
  });
  expect(await served()).toEqual([`test_other ${second}`, `${step} ${second}`]);
});

it('a tenant of which every job is locked keeps its turn', async () => {
  const [busy, free] = [await addTenant(test.sql), await addTenant(test.sql)];
  await flood(test.sql, busy, 1);
  await flood(test.sql, free, 2);
  await database.system.begin(async (tx) => {
    await tx`select from purser.waiting where tenant_id = ${busy} for update`;
    expect((await claim(test.sql, 1)).map(({ tenantId }) => tenantId)).toEqual([free]);
  });
  expect((await claim(test.sql, 1)).map(({ tenantId }) => tenantId)).toEqual([busy]);
});

it('several tenants of which every job is locked keep their turns, before all others', async () => {
  const tenants = [];
  for (let n = 0; n < 6; n += 1) tenants.push(await addTenant(test.sql));
  tenants.sort();
  for (const tenantId of tenants) await flood(test.sql, tenantId, 5);
  const [a, b, c, d, e, f] = tenants;
  const served = async (capacity: number) =>
    (await claim(test.sql, capacity)).map(({ tenantId }) => tenantId);
  await database.system.begin(async (tx) => {
    await tx`select from purser.waiting where tenant_id = any(${[b ?? '', d ?? '']}::text[]) for update`;
    // They take no room of the others.
    expect(await served(4)).toEqual([a, c, e, f]);
    expect(await served(2)).toEqual([a, c]);
  });
  expect([await served(1), await served(1)]).toEqual([[d], [b]]);
  // After that the order goes on where it was.
  expect(await served(2)).toEqual([d, e]);
  expect(await served(6)).toEqual([f, a, b, c, d, e]);
});

it('a tenant that is paused when it is owed a turn gets none', async () => {
  const [busy, free] = [await addTenant(test.sql), await addTenant(test.sql)];
  await flood(test.sql, busy, 2);
  await flood(test.sql, free, 3);
  await database.system.begin(async (tx) => {
    await tx`select from purser.waiting where tenant_id = ${busy} for update`;
    expect((await claim(test.sql, 1)).map(({ tenantId }) => tenantId)).toEqual([free]);
  });
  await test.sql`
    insert into pauses (scope, name, reason, by) values ('tenant', ${busy}, 'r', 'alice')`;
  expect((await claim(test.sql, 2)).map(({ tenantId }) => tenantId)).toEqual([free, free]);
  await test.sql`delete from pauses`;
});

it('a dispatch of one tenant alone costs nobody a turn', async () => {
  const tenants = [];
  for (let n = 0; n < 3; n += 1) tenants.push(await addTenant(test.sql));
  tenants.sort();
  for (const tenantId of tenants) await flood(test.sql, tenantId, 3);
  const [first, second, third = ''] = tenants;
  expect((await claim(test.sql, 1)).map(({ tenantId }) => tenantId)).toEqual([first]);
  const alone = await test.sql<{ tenantId: string }[]>`
    select tenant_id as "tenantId" from purser.dispatch_jobs(
      ${[step]}::text[], ${[1]}::int[], ${[1]}::int[], ${[1]}::int[], '{}', ${third})`;
  expect(alone.map(({ tenantId }) => tenantId)).toEqual([third]);
  expect((await claim(test.sql, 2)).map(({ tenantId }) => tenantId)).toEqual([second, third]);
});

it('a tenant of which the first jobs are locked is served with the next ones, without losing its turn', async () => {
  const [first = '', second = ''] = [
    await addTenant(test.sql),
    await addTenant(test.sql),
  ].toSorted();
  const jobs = new Map<string, string[]>();
  for (const tenantId of [first, second]) {
    jobs.set(tenantId, []);
    for (let n = 0; n < 3; n += 1) jobs.get(tenantId)?.push(await addJob(test.sql, tenantId));
  }
  const [head = '', next] = jobs.get(first) ?? [];
  await database.system.begin(async (tx) => {
    await tx`select from purser.waiting where job_id = ${head} for update`;
    expect((await claim(test.sql, 1)).map(({ jobId }) => jobId)).toEqual([next]);
  });
  expect((await claim(test.sql, 1)).map(({ tenantId }) => tenantId)).toEqual([second]);
  expect((await claim(test.sql, 1)).map(({ jobId }) => jobId)).toEqual([head]);
});

it('many tenants of which every job is locked stop nobody', async () => {
  const tenants: string[] = [];
  for (let n = 0; n < 20; n += 1) tenants.push(await addTenant(test.sql));
  tenants.sort();
  for (const tenantId of tenants) await flood(test.sql, tenantId, 2);
  const [locked, free] = [tenants.slice(0, 12), tenants.slice(12)];
  const served: string[] = [];
  await database.system.begin(async (tx) => {
    await tx`select from purser.waiting where tenant_id = any(${locked}::text[]) for update`;
    for (let round = 0; round < 40; round += 1) {
      served.push(...(await claim(test.sql, 2)).map(({ tenantId }) => tenantId));
    }
    expect(served.toSorted()).toEqual([...free, ...free].toSorted());
  });
  for (let round = 0; round < 12; round += 1) {
    served.push(...(await claim(test.sql, 2)).map(({ tenantId }) => tenantId));
  }
  expect(served.toSorted()).toEqual([...tenants, ...tenants].toSorted());
});

it('locked jobs here and there hold up no other job of their tenant', async () => {
  const tenantId = await addTenant(test.sql);
  await flood(test.sql, tenantId, 100);
  const jobs = await test.sql<{ id: string }[]>`
    select job_id as id from purser.waiting order by scheduled_for, job_id`;
  const held = [0, 1, 50, 51, 53].map((place) => jobs[place]?.id ?? '');
  await database.system.begin(async (tx) => {
    await tx`select from purser.waiting where job_id = any(${held}::bigint[]) for update`;
    const claimed = [];
    for (let round = 0; round < 4; round += 1) claimed.push(...(await claim(test.sql, 50)));
    expect(claimed).toHaveLength(95);
  });
  expect(await claim(test.sql, 50)).toHaveLength(5);
});

it('no tenant has a second job while one behind the locked ones has had none', async () => {
  const tenants: string[] = [];
  for (let n = 0; n < 60; n += 1) tenants.push(await addTenant(test.sql));
  tenants.sort();
  for (const tenantId of tenants) await flood(test.sql, tenantId, 4);
  const locked = tenants.slice(0, 25);
  await database.system.begin(async (tx) => {
    await tx`select from purser.waiting where tenant_id = any(${locked}::text[]) for update`;
    const served: string[] = [];
    for (let round = 0; served.length < 35 && round < 10; round += 1) {
      served.push(...(await claim(test.sql, 20)).map(({ tenantId }) => tenantId));
    }
    expect(new Set(served.slice(0, 35))).toEqual(new Set(tenants.slice(25)));
  });
});
