import { afterAll, beforeAll, expect, it } from 'vitest';
import { releaseExpiredReservations } from '../../src/budget/expire.ts';
import { markSent } from '../../src/budget/reserve.ts';
import { recordUsage } from '../../src/budget/settle.ts';
import { migrateDown, migrateUp } from '../../src/db/migrate.ts';
import type { Database } from '../../src/db/database.ts';
import { assertBooksRight } from '../support/ledger.ts';
import { emptyDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { settlementOf, countersOf, reserve } from '../support/holds.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

let database: TestDatabase;
let plain: Database;
beforeAll(async () => {
  database = await emptyDatabase('purser_plain');
  await migrateUp(database.url);
  plain = await database.open();
});
afterAll(() => database.close());

it('reserve and settle work at level L1, where one login owns everything', async () => {
  expect(plain.level).toBe('L1');
  const sql = plain.system;
  const tenantId = await addTenant(sql, { limitUsd: '1' });
  const attempt = await startAttempt(sql, tenantId);
  const settled = await reserve(sql, attempt, '0.5');
  await markSent(sql, settled);
  await recordUsage(sql, settlementOf(settled.reservationId, '0.3'));
  await reserve(sql, attempt, '0.7');
  await expect(reserve(sql, attempt, '0.000000001')).rejects.toMatchObject({ status: 402 });
  const now = new Date(Date.now() + 3_600_000);
  expect(await releaseExpiredReservations({ sql, now, limit: 10 })).toMatchObject({ released: 1 });
  expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0.3', unknown: '0' });
  await assertBooksRight(sql);
});

it('a session without the system token reads no money tables at level L1', async () => {
  expect(await database.sql`select from llm_ledger`).toHaveLength(0);
  expect(await database.sql`select from llm_budgets`).toHaveLength(0);
});

it('the migration can be reverted and applied again', async () => {
  const applied = await plain.system<{ version: number }[]>`
    select version from purser.migrations where version >= 5`;
  await migrateDown(database.url, applied.length);
  const [gone] = await database.sql<{ left: string | null }[]>`
    select to_regclass('public.llm_budgets')::text as left`;
  expect(gone).toEqual({ left: null });
  await migrateUp(database.url);
  await addTenant(plain.system, { limitUsd: '1' });
});
