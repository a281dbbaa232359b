/**
 * A begin, and the end of a job, change no index and find room in the page of their row, so that they are HOT (heap-only
 * tuple) updates: an update that is not writes every index of its table. By Postgres's own count.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { beginAttempts, finishAttempts, newToken } from '../../src/jobs/attempts.ts';
import { claimWaitingJobs } from '../../src/jobs/dispatch.ts';
import { enqueueMany } from '../../src/jobs/enqueue.ts';
import { addJobType, completed, step } from '../jobs/job-steps.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';

const jobs = 1_000;
const batch = 100;

let test: TestDatabase;
let sql: Sql;
beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
  // One session, so that its counters can be flushed before they are read.
  sql = connect(test.url, { max: 1, applicationName: 'purser test hot updates' });
});
afterAll(async () => {
  await sql.end({ timeout: 5 });
  await test.close();
});

/** Runs jobs with payloads and results of so many characters. Table -> share of its updates that were HOT. */
async function shares(characters: number): Promise<Record<string, number>> {
  const tenantId = await addTenant(sql);
  const text = 'x'.repeat(characters);
  const count = () => sql<{ name: string; updates: number; hot: number }[]>`
    select relname as name, n_tup_upd::int as updates, n_tup_hot_upd::int as hot from pg_stat_user_tables
    where relid in ('public.jobs'::regclass, 'purser.in_flight'::regclass)`;
  await sql`select pg_stat_force_next_flush()`;
  const before = new Map((await count()).map((row) => [row.name, row]));
  for (let done = 0; done < jobs; done += batch) {
    const requests = Array.from({ length: batch }, () => ({
      tenantId,
      jobType: step,
      payload: { text },
    }));
    await enqueueMany(sql, requests);
    const entries = await claimWaitingJobs(sql, [{ jobType: step, capacity: batch }]);
    const begins = entries.map((entry) => ({ ...entry, token: newToken(entry.jobId) }));
    await beginAttempts(sql, begins, 'worker-1', 30_000);
    const ends = begins.map((begin) => ({ ...begin, end: { ...completed, result: { text } } }));
    await finishAttempts(sql, ends);
  }
  await sql`select pg_stat_force_next_flush()`;
  return Object.fromEntries(
    (await count()).map(({ name, updates, hot }) => {
      const first = before.get(name) ?? { updates: 0, hot: 0 };
      return [name, (hot - first.hot) / (updates - first.updates)];
    }),
  );
}

it.each([
  ['small', 10],
  ['a kilobyte of', 1_000],
])('jobs with %s payload and result', async (what, characters) => {
  const measured = await shares(characters);
  console.log(`share of HOT updates, ${what} payload and result:`, measured);
  expect(measured['jobs']).toBeGreaterThan(0.9);
  expect(measured['in_flight']).toBeGreaterThan(0.9);
});

it('the count notices an index on what the end changes', async () => {
  await test.sql`create index ix_test_outcome on jobs (outcome)`;
  try {
    expect((await shares(10))['jobs']).toBe(0);
  } finally {
    await test.sql`drop index ix_test_outcome`;
  }
});
