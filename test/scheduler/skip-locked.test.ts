/**
 * Rows that another transaction has locked are skipped by each statement of the sweep, which waits for no lock. The walk
 * of tenant-locks does not tell: there a lock timeout and a run row by row end well too.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { addJobType } from '../jobs/job-steps.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { lockedRows } from './locked-rows.ts';
import { removeTenants } from '../support/tenants.ts';

let test: TestDatabase;
let sql: Sql;
let watch: Sql;
beforeAll(async () => {
  test = await freshDatabase();
  ({ sql } = test);
  watch = connect(test.url, { max: 1, applicationName: 'purser test watch' });
  await addJobType(sql);
});
beforeEach(async () => {
  await removeTenants(sql);
  await sql`delete from purser.job_counts`;
});
afterAll(async () => {
  await watch.end({ timeout: 5 });
  await test.close();
});

/** The statements that wait for a lock until `work` is done. */
async function waitsDuring(work: Promise<unknown>): Promise<string[]> {
  const waits = new Set<string>();
  const over = work.then(
    () => 'over',
    () => 'over',
  );
  for (;;) {
    const waiting = await watch<{ query: string }[]>`
      select query from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    for (const { query } of waiting) waits.add(query);
    if ((await Promise.race([over, sleep(10, 'waits')])) === 'over') return [...waits];
  }
}

const names = Object.keys(
  lockedRows(connect('postgres://none@localhost/none', { max: 1, applicationName: 'none' })),
);

it.each(names)('%s: a locked row is skipped without a wait', async (name) => {
  const row = await lockedRows(sql)[name]?.();
  if (row === undefined) throw new Error(name);
  await sql.begin(async (tx) => {
    await tx.unsafe(`${row.query} for update`);
    const work = row.work();
    expect(await waitsDuring(work)).toEqual([]);
    expect(await work).toBe(1);
  });
});
