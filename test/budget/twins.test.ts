/** Two reservations with one key at the same time are one hold, whatever the second one sees of the first. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { reserve, untilWaiting } from '../support/holds.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

let database: TestDatabase;
let sql: Sql;
let wide: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
  wide = connect(database.url, { max: 2, applicationName: 'purser test fleet' });
});
afterAll(async () => {
  await wide.end({ timeout: 5 });
  await database.close();
});

it('a twin whose hold is committed between the look for the key and that for the sums is replayed', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '0.1' });
  const attempt = await startAttempt(sql, tenantId);
  const key = { idempotencyKey: 'the-same' };
  // Its statements share one session.
  const one = connect(database.url, { max: 1, applicationName: 'purser test twin' });
  await one.unsafe('begin');
  // Reading the sums waits for this lock; reading the key does not.
  await one`lock table llm_budget_periods in access exclusive mode`;
  const first = await reserve(one, attempt, '0.1', key);
  const twin = reserve(wide, attempt, '0.1', key);
  twin.catch(() => {});
  await untilWaiting(sql, 1);
  await one.unsafe('commit');
  await one.end({ timeout: 5 });
  expect(await twin).toMatchObject({ reservationId: first.reservationId, replayed: true });
});
