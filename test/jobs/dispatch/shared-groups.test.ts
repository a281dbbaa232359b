/** Groups that several tenants and types share, and tenants with many groups: everybody has a turn. */
import { expect, it } from 'vitest';
import { claimWaitingJobs } from '../../../src/jobs/dispatch.ts';
import type { DispatchedJob } from '../../../src/jobs/dispatch.ts';
import { setJobLimit } from '../../../src/jobs/limits/job-limits.ts';
import { claim, step } from '../job-steps.ts';
import { addWaiting, finishAll, other, useDispatchDatabase } from './dispatch-database.ts';

const db = useDispatchDatabase();

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
    const jobs = await claim(db.sql, room);
    await finishAll(db.sql, jobs);
    all.push(...jobs);
  }
  return all;
}

it('tenants of a group have its room by turns, in rounds that it does not fill', async () => {
  await addWaiting(db.sql, ['a', 'b', 'c'], 50, { groups: ['eu'] });
  await setJobLimit(db.sql, { group: 'eu' }, { maxRunning: 1, by: 'test' });
  expect(tally(await rounds(12, 10))).toEqual({ a: 4, b: 4, c: 4 });
  await db.sql`update job_limits set max_running = 2`;
  expect(tally(await rounds(6, 10))).toEqual({ a: 4, b: 4, c: 4 });
});

it('the starts of a group are those of all its tenants', async () => {
  const ids = Array.from({ length: 20 }, (_, n) => `tenant-${n}`);
  await addWaiting(db.sql, ids, 3, { groups: ['eu'] });
  await setJobLimit(db.sql, { group: 'eu' }, { maxStarts: 30, perSeconds: 60, by: 'test' });
  const first = await claim(db.sql, 20);
  expect(Object.keys(tally(first))).toHaveLength(20);
  expect(await claim(db.sql, 20)).toHaveLength(10);
  expect(await claim(db.sql, 20)).toEqual([]);
});

it('a tenant whose other jobs come first holds no seat of its group', async () => {
  await addWaiting(db.sql, ['a', 'c'], 200);
  await addWaiting(db.sql, ['a'], 5, { groups: ['eu'], priority: -10 });
  await addWaiting(db.sql, ['b'], 50, { groups: ['eu'] });
  await setJobLimit(db.sql, { group: 'eu' }, { maxRunning: 1, by: 'test' });
  expect(tally(await rounds(6, 4))).toEqual({ a: 9, b: 6, c: 9 });
});

it.each([{ group: 'eu' }, { tenantId: 'a' }])(
  'types share a limit of %j by turns',
  async (target) => {
    await addWaiting(db.sql, ['a'], 50, { groups: ['eu'] });
    await addWaiting(db.sql, ['a'], 50, { groups: ['eu'], jobType: other });
    await setJobLimit(db.sql, target, { maxRunning: 2, by: 'test' });
    const all: DispatchedJob[] = [];
    for (let round = 0; round < 10; round += 1) {
      const jobs = await claimWaitingJobs(db.sql, [
        { jobType: step, capacity: 5 },
        { jobType: other, capacity: 5 },
      ]);
      await finishAll(db.sql, jobs);
      all.push(...jobs);
    }
    expect(tally(all, 'jobType')).toEqual({ [step]: 10, [other]: 10 });
  },
);

it('rounds that may start no job of a limited group move nobody past one', async () => {
  const groups = Array.from({ length: 200 }, (_, n) => `user:${n}`);
  await addWaiting(db.sql, ['a'], 2, { groups });
  await setJobLimit(db.sql, { group: 'user:*' }, { maxRunning: 1, by: 'test' });
  const seen: DispatchedJob[] = [];
  for (let round = 0; round < 20; round += 1) {
    const waiting = await db.system.begin(async (tx) => {
      await tx`select from purser.limit_locks where name = 'groups' for update`;
      return claim(db.sql, 10);
    });
    expect(waiting).toEqual([]);
    seen.push(...(await claim(db.sql, 10)));
  }
  expect(seen).toHaveLength(200);
});

it('hundreds of tenants whose groups are all full hide no tenant behind them', async () => {
  const full = Array.from({ length: 100 }, (_, n) => `full-${n}`);
  const groups = Array.from({ length: 60 }, (_, n) => `user:${n}`);
  await addWaiting(db.sql, full, 1, { groups });
  await addWaiting(db.sql, ['late'], 5);
  await setJobLimit(db.sql, { group: 'user:*' }, { maxRunning: 0, by: 'test' });
  expect(tally(await rounds(10, 3))).toEqual({ late: 5 });
});
