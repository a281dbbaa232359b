/** The share of the holds of a month that was charged, per model. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { holdEfficiency } from '../../src/budget/hold-efficiency.ts';
import { markSent } from '../../src/budget/reserve.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../src/budget/settle.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { reserve, settlementOf } from '../support/holds.ts';
import { assertBooksRight } from '../support/ledger.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(async () => {
  await assertBooksRight(database.sql);
  await database.close();
});

/** A settled call of a tenant in a month. */
async function settled(
  tenantId: string,
  { month, model, held, charged }: Readonly<Record<'month' | 'model' | 'held' | 'charged', string>>,
): Promise<void> {
  const { sql } = database;
  const now = new Date(`${month}-15T12:00:00Z`);
  const hold = await reserve(sql, await startAttempt(sql, tenantId), held, { model, now });
  await markSent(sql, { ...hold, now });
  await recordUsage(sql, settlementOf(hold.reservationId, charged, now));
}

it('is the charged share of settled holds, by model, month and tenant', async () => {
  const { sql } = database;
  const [one, two] = [
    await addTenant(sql, { limitUsd: '1000' }),
    await addTenant(sql, { limitUsd: '1000' }),
  ];
  const march = { month: '2026-03', model: 'big' };
  await settled(one, { ...march, held: '0.1', charged: '0.03' });
  await settled(two, { ...march, held: '0.3', charged: '0.05' });
  // Beyond its hold: it counts in full.
  await settled(two, { ...march, held: '0.1', charged: '0.12' });
  await settled(one, { ...march, model: 'small', held: '0.000000002', charged: '0.000000001' });
  await settled(one, { ...march, month: '2026-04', held: '1', charged: '1' });
  // Neither is settled.
  const now = new Date('2026-03-15T12:00:00Z');
  const attempt = await startAttempt(sql, one);
  const released = await reserve(sql, attempt, '5', { model: 'big', now });
  await releaseReservation(sql, { ...released, now });
  const unknown = await reserve(sql, attempt, '5', { model: 'big', now });
  await markSent(sql, { ...unknown, now });
  await markUnknown(sql, { ...unknown, now });
  await reserve(sql, attempt, '5', { model: 'big', now });

  const big = { provider: 'test', model: 'big', periodStart: '2026-03-01' };
  expect(await holdEfficiency(sql, { month: '2026-03' })).toEqual([
    {
      ...big,
      calls: 3,
      heldNanoUsd: 500_000_000n,
      chargedNanoUsd: 200_000_000n,
      beyondHold: 1,
      efficiency: 0.4,
    },
    {
      ...big,
      model: 'small',
      calls: 1,
      heldNanoUsd: 2n,
      chargedNanoUsd: 1n,
      beyondHold: 0,
      efficiency: 0.5,
    },
  ]);
  expect(await holdEfficiency(sql, { month: '2026-03', tenantId: two })).toMatchObject([
    { model: 'big', calls: 2, efficiency: 0.425 },
  ]);
  expect(await holdEfficiency(sql, { month: '2026-04' })).toMatchObject([
    { calls: 1, efficiency: 1 },
  ]);
  expect(await holdEfficiency(sql, { month: '1999-01' })).toEqual([]);
  expect(await holdEfficiency(sql, { month: '2026-03', tenantId: 'nobody' })).toEqual([]);
});

it('of calls that hold nothing is none, and the default is the current month', async () => {
  const { sql } = database;
  const tenantId = await addTenant(sql, { limitUsd: '1' });
  const month = new Date().toISOString().slice(0, 7);
  await settled(tenantId, { month, model: 'free', held: '0', charged: '0' });
  expect(await holdEfficiency(sql, { tenantId })).toMatchObject([
    { model: 'free', periodStart: `${month}-01`, calls: 1, heldNanoUsd: 0n, efficiency: null },
  ]);
});

it.each(['', '2026', '2026-13', '2026-1', '2026-03-01', 'March', "2026-03'; drop table x"])(
  'a month written as "%s" is refused with how to write it',
  async (month) => {
    await expect(holdEfficiency(database.sql, { month })).rejects.toThrow('write it like 2026-07');
  },
);
