/** The sums by day follow every movement of a call, in the month and on the day of its reservation. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { budgetReport } from '../../../src/budget/report/report.ts';
import { assumeUnknown, resolveUnknown } from '../../../src/budget/resolve.ts';
import { releaseReservation } from '../../../src/budget/settle.ts';
import { addUpSpend } from '../../../src/budget/spend/add-up.ts';
import { spendTable } from '../../../src/budget/spend/table.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve } from '../../support/holds.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { addTenant } from '../../support/tenants.ts';
import { attemptOf, callOf } from '../report/calls.ts';
import { addUp, expectLedger, lastId, position } from './figures.ts';

let database: TestDatabase;
let sql: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
});
afterEach(() => assertBooksRight(sql));
afterAll(() => database.close());

describe('the sums by day', () => {
  it('follow a call through every end that it can have, before and after they are added up', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '100' });
    const attempt = await attemptOf(sql, tenantId, 'summarise');
    await callOf(sql, attempt, { hold: '0.9', cost: '0.300000001' });
    await expectLedger(sql, tenantId, '0.300000001');
    await addUp(sql);
    expect(await position(sql)).toBe(await lastId(sql));
    await expectLedger(sql, tenantId, '0.300000001');

    const unknown = await callOf(sql, attempt, { hold: '0.25' });
    const assumed = await callOf(sql, attempt, { hold: '0.5' });
    const { reservationId: released } = await reserve(sql, attempt, '7');
    await releaseReservation(sql, { reservationId: released });
    await callOf(sql, attempt, { hold: '0.125', ends: 'held' });
    await addUpSpend(sql);
    await expectLedger(sql, tenantId, '0.300000001');
    await addUp(sql);

    await resolveUnknown(sql, {
      reservationId: unknown,
      costNanoUsd: 7n,
      evidence: 'invoice line 1',
      reason: 'test',
      by: 'test',
    });
    await assumeUnknown(sql, { afterMs: 0, limit: 10 });
    await expectLedger(sql, tenantId, '0.800000008');
    await addUp(sql);
    await expectLedger(sql, tenantId, '0.800000008');

    await resolveUnknown(sql, {
      reservationId: assumed,
      costNanoUsd: 100_000_000n,
      evidence: 'invoice line 2',
      reason: 'test',
      by: 'test',
    });
    await resolveUnknown(sql, {
      reservationId: released,
      costNanoUsd: 3n,
      evidence: 'billed after all',
      reason: 'test',
      by: 'test',
    });
    await expectLedger(sql, tenantId, '0.400000011');
    await addUp(sql);
    await expectLedger(sql, tenantId, '0.400000011');
    const { total } = await budgetReport(sql, { tenantId });
    expect(total).toMatchObject({
      spentUsd: '0.400000011',
      heldUsd: '0.125',
      unknownUsd: '0',
      calls: 5,
      settledCalls: 4,
      settledHoldUsd: '8.65',
    });
  });

  it('keep a call in the month and on the day of its reservation, however late it is settled', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '100' });
    const attempt = await attemptOf(sql, tenantId, 'late');
    const now = new Date('2026-03-31T23:59:59Z');
    const id = await callOf(sql, attempt, { hold: '1', now });
    await addUp(sql);
    const resolved = { reservationId: id, costNanoUsd: 5n, reason: 'test', by: 'test' };
    await resolveUnknown(sql, { ...resolved, evidence: 'late', now: new Date('2026-04-02') });
    await addUp(sql);
    const { rows } = await spendTable(sql, {
      tenantId,
      month: '2026-03-01',
      by: ['day'],
      limit: 10,
    });
    expect(rows).toMatchObject([{ day: '2026-03-31', spentUsd: '0.000000005', calls: 1 }]);
    const april = await spendTable(sql, { tenantId, month: '2026-04-01', by: ['day'], limit: 10 });
    expect(april.rows).toEqual([]);
  });

  it('take a corrected price', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '100' });
    const attempt = await attemptOf(sql, tenantId, 'rated');
    const id = await callOf(sql, attempt, { hold: '1', cost: '0.5' });
    await addUp(sql);
    await sql`
      select purser.budget_rerate(jsonb_build_array(jsonb_build_object('id', ${id}::text, 'evidence', 'price 1',
        'before_usd', 0.5, 'cost_usd', 0.25, 'items', jsonb_build_array(
          jsonb_build_object('class', 'request', 'count', 1, 'usd', 0.25, 'per', 1)))), 'test', 'test', null)`;
    await expectLedger(sql, tenantId, '0.25');
    await addUp(sql);
    await expectLedger(sql, tenantId, '0.25');
    expect(await position(sql)).toBe(await lastId(sql));
  });
});
