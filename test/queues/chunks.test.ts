/** Entries with many jobs: how dispatch fills them, and that a lost commit of a dispatch leaves nothing that begins. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import { beginAttempts, finishAttempts, newToken } from '../../src/jobs/attempts.ts';
import { claimWaitingJobs } from '../../src/jobs/dispatch.ts';
import type { DispatchedJob, TypeCapacity } from '../../src/jobs/dispatch.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { addJob, addJobType, completed, step } from '../jobs/job-steps.ts';

let test: TestDatabase;
let sql: Sql;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  sql = (await test.open({ systemConnections: 4 })).system;
  await addJobType(sql);
  await addJobType(sql, 'test_other');
  tenantId = await addTenant(sql);
});
afterEach(async () => {
  await test.sql`delete from background_jobs`;
});
afterAll(() => test.close());

async function addJobs(count: number, jobType = step): Promise<string[]> {
  const ids: string[] = [];
  for (let n = 0; n < count; n += 1) ids.push(await addJob(sql, tenantId, { jobType }));
  return ids;
}
const claim = (more: Partial<TypeCapacity> = {}): Promise<DispatchedJob[]> =>
  claimWaitingJobs(sql, [{ jobType: step, capacity: 1_000, ...more }]);

/** Jobs per entry, in order. */
function entriesOf(jobs: readonly DispatchedJob[]): string[][] {
  const ids = [...new Set(jobs.map(({ entryId }) => entryId))];
  return ids.map((id) => jobs.filter(({ entryId }) => entryId === id).map(({ jobId }) => jobId));
}

describe('a round of dispatch', () => {
  it('puts neighbours into one entry, in order, and no more than its chunk', async () => {
    const ids = await addJobs(25);
    expect(entriesOf(await claim({ chunk: 10 }))).toEqual([
      ids.slice(0, 10),
      ids.slice(10, 20),
      ids.slice(20),
    ]);
  });

  it('gives each worker of the type an entry before an entry is full', async () => {
    await addJobs(10);
    const sizes = entriesOf(await claim({ chunk: 100, workers: 4 })).map(({ length }) => length);
    expect(sizes).toEqual([3, 3, 3, 1]);
  });

  it('has one job per entry without a chunk, and entries of one type only', async () => {
    await addJobs(3);
    await addJobs(4, 'test_other');
    const jobs = await claimWaitingJobs(sql, [
      { jobType: step, capacity: 10 },
      { jobType: 'test_other', capacity: 10, chunk: 10 },
    ]);
    expect(entriesOf(jobs).map(({ length }) => length)).toEqual([4, 1, 1, 1]);
  });

  it('gives a job that was lost once, or is large, an entry of its own, and marks the lost one', async () => {
    const [lost, suspect, large, ...others] = await addJobs(6);
    await sql`update background_jobs set losses = 1 where id = ${lost ?? ''}`;
    await sql`update background_jobs set suspect = true where id = ${suspect ?? ''}`;
    const text = Array.from({ length: 5_000 }, () => randomUUID()).join('');
    await sql`update background_jobs set payload = ${sql.json({ text })} where id = ${large ?? ''}`;
    const jobs = await claim({ chunk: 100 });
    expect(new Set(entriesOf(jobs).map((ids) => ids.join()))).toEqual(
      new Set([lost, suspect, large, others.join()]),
    );
    const wereLost = jobs.filter(({ alone }) => alone).map(({ jobId }) => jobId);
    expect(wereLost).toEqual([lost, suspect]);
  });
});

it('a dispatch whose commit was lost begins nothing, although the jobs are dispatched again', async () => {
  await addJobs(3);
  let lost: DispatchedJob[] = [];
  const commitLost = sql.begin(async (tx) => {
    lost = [...(await claimWaitingJobs(tx, [{ jobType: step, capacity: 2, chunk: 10 }]))];
    throw new Error('the server stopped');
  });
  await expect(commitLost).rejects.toThrow('the server stopped');
  expect(lost).toHaveLength(2);
  const again = await claim({ chunk: 10 });
  expect(again[0]?.jobId).toBe(lost[0]?.jobId);
  expect(again[0]?.entryId).not.toBe(lost[0]?.entryId);
  const begin = (jobs: readonly DispatchedJob[]) =>
    beginAttempts(
      sql,
      jobs.map(({ jobId, entryId }) => ({ jobId, entryId, token: newToken(jobId) })),
      'worker-1',
      30_000,
    );
  expect(await begin(lost)).toEqual([]);
  expect(await begin(again)).toHaveLength(3);
});

it('each job of an entry has a token of its own, which ends no neighbour and opens only its own tenant', async () => {
  const tenants = [tenantId, await addTenant(sql), await addTenant(sql)];
  for (const tenant of tenants) await addJob(sql, tenant);
  const jobs = await claim({ chunk: 10 });
  expect(entriesOf(jobs)).toHaveLength(1);
  const begun = await beginAttempts(
    sql,
    jobs.map(({ jobId, entryId }) => ({ jobId, entryId, token: newToken(jobId) })),
    'worker-1',
    30_000,
  );
  expect(new Set(begun.map(({ token }) => token)).size).toBe(3);
  for (const { jobId, token } of begun) {
    const opened = await sql`select tenant_id, job_id from purser.in_flight where token = ${token}`;
    expect([...opened]).toEqual([
      { tenant_id: begun.find((one) => one.jobId === jobId)?.tenantId, job_id: jobId },
    ]);
    const neighbours = begun.filter((one) => one.jobId !== jobId);
    const answers = await finishAttempts(
      sql,
      neighbours.map((one) => ({ jobId: one.jobId, token, end: completed })),
    );
    expect([...answers.values()]).toEqual(['stale', 'stale']);
  }
});

it('begins whose payloads do not fit into one answer of 4 MiB all begin, each once', async () => {
  const ids = await addJobs(12);
  const text = 'x'.repeat(900_000);
  await sql`update background_jobs set payload = ${sql.json({ text })}`;
  const jobs = await claim({ chunk: 100 });
  const statements: number[] = [];
  const counted = new Proxy(sql, {
    apply: (target, self, given: unknown[]) => {
      const sent = Reflect.apply(target, self, given) as Promise<{ payload: string | null }[]>;
      // Other calls make parts of the statement.
      if (!String(given[0]).includes('begin_attempts')) return sent;
      return sent.then((rows) => {
        const bytes = rows.reduce((sum, { payload }) => sum + (payload?.length ?? 0), 0);
        statements.push(Math.round(bytes / 900_000));
        return rows;
      });
    },
  });
  const requests = jobs.map(({ jobId, entryId }) => ({ jobId, entryId, token: newToken(jobId) }));
  const begun = await beginAttempts(counted, requests, 'worker-1', 30_000);
  expect(statements).toEqual([4, 4, 4]);
  expect(begun.map(({ jobId }) => jobId).toSorted()).toEqual(ids.toSorted());
  const attempts = await sql`select distinct attempt, state from background_jobs`;
  expect([...attempts]).toEqual([{ attempt: 1, state: 'running' }]);
  const repeated = await beginAttempts(counted, requests, 'worker-1', 30_000);
  expect(statements).toEqual([4, 4, 4, 4, 4, 4]);
  expect(repeated.map(({ token }) => token)).toEqual(begun.map(({ token }) => token));
});
