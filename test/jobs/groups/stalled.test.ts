/** What is at a limit does not stand still: the status reports only jobs that could be dispatched. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { writeHeartbeat } from '../../../src/db/heartbeats.ts';
import { readFlow } from '../../../src/jobs/flow.ts';
import { setJobLimit } from '../../../src/jobs/limits/job-limits.ts';
import type { LimitTarget, LimitValues } from '../../../src/jobs/limits/job-limits.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addJob, addJobType, step } from '../job-steps.ts';

let test: TestDatabase;

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
  await test.sql`insert into tenants (id, plan) values ('a', 'free')`;
  await writeHeartbeat(test.sql, {
    processId: 'worker-1',
    role: 'worker',
    version: '1',
    hostname: 'host',
    pid: 1,
    jobTypes: [step],
    typeSlots: [5],
    slots: 5,
    running: 0,
    progressedAt: new Date(),
    metrics: [],
  });
  await addJob(test.sql, 'a', { group: 'user:1' });
  await addJob(test.sql, 'a', { group: 'user:2' });
  await test.sql`update purser.waiting set scheduled_for = now() - interval '1 hour'`;
});
afterEach(() => test.sql`delete from job_limits`);
afterAll(() => test.close());

const stalled = async () =>
  (await readFlow(test.sql, { heartbeatMaxAgeMs: 60_000, stalledAfterMs: 1_000 })).notDispatched;

const none = { maxRunning: 0 };
const noStart = { maxStarts: 0, perSeconds: 60 };

it.each<[LimitTarget, LimitValues]>([
  [{ jobType: step }, none],
  [{ jobType: step }, noStart],
  [{ tenantId: 'a' }, none],
  [{ tenantId: 'a', jobType: step }, noStart],
  [{ group: 'user:*' }, none],
  [{ group: 'user:*', eachTenant: true }, noStart],
])('%j at %j', async (target, values) => {
  expect(await stalled()).toEqual([step]);
  await setJobLimit(test.sql, target, { ...values, by: 'test' });
  expect(await stalled()).toEqual([]);
});

it('one group at its limit hides no other', async () => {
  await setJobLimit(test.sql, { group: 'user:1' }, { ...none, by: 'test' });
  expect(await stalled()).toEqual([step]);
});

it('permits of a limit that is no more, and starts that it has left, hide nothing', async () => {
  await test.sql`
    insert into purser.rate_slots (tenant_id, job_type, group_name, slot, job_id, started_at)
    values ('', ${step}, '', 1, 1, now())`;
  await setJobLimit(test.sql, { jobType: step }, { maxRunning: 5, by: 'test' });
  expect(await stalled()).toEqual([step]);
  await setJobLimit(test.sql, { jobType: step }, { maxStarts: 2, perSeconds: 60, by: 'test' });
  expect(await stalled()).toEqual([step]);
  await setJobLimit(test.sql, { jobType: step }, { maxStarts: 1, perSeconds: 60, by: 'test' });
  expect(await stalled()).toEqual([]);
});
