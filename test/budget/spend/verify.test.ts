/** `verify` names every sum by day that differs from the ledger. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifyBudgets } from '../../../src/budget/verify.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { addTenant } from '../../support/tenants.ts';
import { attemptOf, callOf } from '../report/calls.ts';
import { addUp, position } from './figures.ts';

let database: TestDatabase;
let sql: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
});
afterAll(async () => {
  await assertBooksRight(sql);
  await database.close();
});

describe('verify', () => {
  const planted = [
    ['spent_usd', 'spent_usd = spent_usd + 0.000000001'],
    ['held_usd', 'held_usd = held_usd + 1'],
    ['unknown_usd', 'unknown_usd = unknown_usd - 1'],
    ['calls', 'calls = calls + 1'],
    ['settled_calls', 'settled_calls = settled_calls + 1'],
    ['settled_hold_usd', 'settled_hold_usd = settled_hold_usd + 1'],
  ] as const;

  it('names a sum that differs from the ledger, by day, type and model', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '100' });
    await callOf(sql, await attemptOf(sql, tenantId, 'planted'), { hold: '1', cost: '0.5' });
    await addUp(sql);
    for (const [name, change] of planted) {
      await sql`update llm_spend_days set ${sql.unsafe(change)} where tenant_id = ${tenantId}`;
      const { differences } = await verifyBudgets(sql);
      expect(differences.map((each) => each.name.split(' of ')[0])).toEqual([
        `${name} by day`,
        'sums',
        'sums by month',
      ]);
      await sql`update llm_spend_days set ${sql.unsafe(change.replace(/[+-](?= [\d.]+$)/, (sign) => (sign === '+' ? '-' : '+')))}
        where tenant_id = ${tenantId}`;
    }
  });

  it('names a movement that the sums have missed', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '100' });
    await callOf(sql, await attemptOf(sql, tenantId, 'missed'), { hold: '1', cost: '0.5' });
    const at = await position(sql);
    await sql`update purser.llm_spend_position set ledger_id = (select max(id) from llm_ledger)`;
    const { differences } = await verifyBudgets(sql);
    expect(differences.map(({ name }) => name.split(' ')[0])).toEqual([
      'calls',
      'settled_calls',
      'settled_hold_usd',
      'spent_usd',
    ]);
    await sql`update purser.llm_spend_position set ledger_id = ${at}`;
  });

  it('compares the months with their counters where closed ones are not read', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '100' });
    const now = new Date('2026-02-10T00:00:00Z');
    await callOf(sql, await attemptOf(sql, tenantId, 'closed'), { hold: '1', cost: '0.5', now });
    await addUp(sql);
    await sql`select purser.close_months('2026-02-01', '2026-03-01', 100, 'test')`;
    expect((await verifyBudgets(sql)).differences).toEqual([]);
    await sql`update llm_spend_days set spent_usd = spent_usd + 1 where tenant_id = ${tenantId}`;
    const { differences } = await verifyBudgets(sql);
    expect(differences.filter(({ name }) => !name.startsWith('sums'))).toEqual([
      {
        tenantId,
        periodStart: '2026-02-01',
        name: 'spent_usd by day',
        stored: '1.5',
        recomputed: '0.5',
      },
    ]);
    await sql`update llm_spend_days set spent_usd = spent_usd - 1 where tenant_id = ${tenantId}`;
  });

  it('names a sum without the day, or without the tenant, that differs from those that have both', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '100' });
    await callOf(sql, await attemptOf(sql, tenantId, 'coarse'), { hold: '1', cost: '0.5' });
    await addUp(sql);
    for (const [table, name] of [
      ['public.llm_spend_months', 'sums by month of coarse'],
      ['purser.llm_spend_totals', 'sums of all tenants of '],
    ] as const) {
      const change = (sign: string) =>
        sql.unsafe(
          `update ${table} set spent_usd = spent_usd ${sign} 0.000000001 where job_type = 'coarse'`,
        );
      await change('+');
      const { differences } = await verifyBudgets(sql);
      expect(differences.map((each) => each.name)).toEqual([expect.stringContaining(name)]);
      await change('-');
    }
  });
});
