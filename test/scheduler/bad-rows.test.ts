/** One row that no statement can change does not keep those of others. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { releaseExpiredReservations } from '../../src/budget/expire.ts';
import type { Sql } from '../../src/db/connect.ts';
import { claimWaitingJobs } from '../../src/jobs/dispatch.ts';
import { expireWaitingJobs, rescueLostAttempts, wakeParkedJobs } from '../../src/jobs/sweep.ts';
import { createFailingTenants } from '../../src/scheduler/failing-tenants.ts';
import { createSkipList } from '../../src/scheduler/skip-list.ts';
import { claimDueTenants } from '../../src/schedules/claim.ts';
import { addJob, addJobType, finish, jobRow, runningJob, step } from '../jobs/job-steps.ts';
import { collectingLog } from '../support/collecting-log.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { reserve } from '../support/holds.ts';
import { addTenant, removeTenants } from '../support/tenants.ts';

let test: TestDatabase;
let sql: Sql;
let [bad, good]: [string, string] = ['', ''];

/** Every change of a row of a tenant whose id begins with `bad` fails by a constraint, as an old row may. */
beforeAll(async () => {
  test = await freshDatabase();
  ({ sql } = test);
  await addJobType(sql);
  await sql.unsafe(`
    create function refuse_bad() returns trigger language plpgsql as $$
    begin
      if old.tenant_id like 'bad%' then raise exception 'this row is bad' using errcode = '23514'; end if;
      return case when tg_op = 'DELETE' then old else new end;
    end $$`);
});
const tables = [
  'purser.waiting',
  'purser.parked',
  'purser.in_flight',
  'tenant_schedules',
  'llm_reservations',
];
const spoil = async () => {
  for (const table of tables) {
    await sql.unsafe(
      `create trigger refuse_bad before update or delete on ${table} for each row execute function refuse_bad()`,
    );
  }
};
beforeEach(async () => {
  for (const table of tables) await sql.unsafe(`drop trigger if exists refuse_bad on ${table}`);
  await removeTenants(sql);
  good = await addTenant(sql, { limitUsd: '100' });
  bad = `bad-${good}`;
  await sql`insert into tenants (id) values (${bad})`;
});
afterAll(() => test.close());

const faults: string[] = [];
const onRowFault = (id: string): void => void faults.push(id);
beforeEach(() => void faults.splice(0));

it('rescue', async () => {
  const lost = [];
  for (let n = 0; n < 6; n += 1) lost.push(await runningJob(sql, n === 3 ? bad : good, {}, -1_000));
  await spoil();
  await expect(rescueLostAttempts(sql)).rejects.toMatchObject({ code: '23514' });
  expect(await rescueLostAttempts(sql, { onRowFault })).toMatchObject({ requeued: 5 });
  expect(faults).toEqual([lost[3]?.jobId]);
});

it('expiry', async () => {
  const jobs = [];
  for (let n = 0; n < 5; n += 1) jobs.push(await addJob(sql, n === 0 ? bad : good));
  await spoil();
  const offsetMs = 2 * 86_400_000;
  expect(await expireWaitingJobs(sql, { offsetMs, onRowFault })).toBe(4);
  expect(faults).toEqual([jobs[0]]);
});

it('waking', async () => {
  for (const tenantId of [bad, good, good]) {
    const parked = await runningJob(sql, tenantId);
    await finish(sql, parked, { toState: 'parked', neededUsd: '1', until: new Date(0) });
  }
  await spoil();
  expect(await wakeParkedJobs(sql, { onRowFault })).toBe(2);
  expect(faults).toHaveLength(1);
});

it('expired holds', async () => {
  await sql`insert into llm_budgets (tenant_id, monthly_limit_usd) values (${bad}, 100)`;
  for (const tenantId of [good, bad, good]) {
    const running = await runningJob(sql, tenantId);
    await reserve(sql, { ...running, tenantId }, '1');
  }
  await sql`update llm_reservations set expires_at = now() - interval '1 minute'`;
  await spoil();
  const ended = await releaseExpiredReservations({ sql, limit: 500, onRowFault });
  expect([ended, faults.length]).toEqual([{ released: 2, unknown: 0 }, 1]);
});

it('the claim of schedules', async () => {
  await spoil();
  const tenants: string[] = [];
  const claimed = await claimDueTenants(sql, {
    onTenantFault: (tenantId) => tenants.push(tenantId),
  });
  expect([claimed.created, tenants]).toEqual([1, [bad]]);
});

it('dispatch, which then skips the tenant for a while', async () => {
  await addJob(sql, bad);
  const jobs = [await addJob(sql, good), await addJob(sql, good), await addJob(sql, good)];
  await spoil();
  const { lines, log } = collectingLog();
  const failing = createFailingTenants(log);
  const capacity = [{ jobType: step, capacity: 4 }];
  expect((await claimWaitingJobs(sql, capacity, failing)).map(({ jobId }) => jobId)).toEqual(
    jobs.slice(0, 2),
  );
  expect((await claimWaitingJobs(sql, capacity, failing)).map(({ jobId }) => jobId)).toEqual([
    jobs[2],
  ]);
  expect(lines).toMatchObject([{ event: 'dispatch_tenant_skipped', tenantId: bad }]);
  expect((await jobRow(sql, jobs[0] ?? '')).state).toBe('queued');
});

it('dispatch, which does not skip the tenant for ever', async () => {
  const jobId = await addJob(sql, bad);
  await spoil();
  const failing = createSkipList(0, () => {});
  const capacity = [{ jobType: step, capacity: 4 }];
  expect(await claimWaitingJobs(sql, capacity, failing)).toEqual([]);
  await sql`drop trigger refuse_bad on purser.waiting`;
  expect(await claimWaitingJobs(sql, capacity, failing)).toMatchObject([{ jobId }]);
});
