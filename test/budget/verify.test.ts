import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { budgetStatus, setBudget } from '../../src/budget/budgets.ts';
import { releaseExpiredReservations } from '../../src/budget/expire.ts';
import { markSent } from '../../src/budget/reserve.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../src/budget/settle.ts';
import { verifyBudgets } from '../../src/budget/verify.ts';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { PurserError } from '../../src/errors.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { settlementOf, reserve } from '../support/holds.ts';
import { addTenant, removeTenants, startAttempt } from '../support/tenants.ts';

let database: TestDatabase;
let sql: Sql;
let wide: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
  wide = connect(database.url, { max: 12, applicationName: 'purser test fleet' });
});
afterAll(async () => {
  await wide.end({ timeout: 5 });
  await database.close();
});

/** Plants a fault, reads what verify names, and takes the fault back. */
async function namesWith(plant: string, undo: string): Promise<string[]> {
  await sql.unsafe(plant);
  const { differences } = await verifyBudgets(sql);
  await sql.unsafe(undo);
  return differences.map(({ name }) => name);
}

/** The ledger refuses every change while its trigger is enabled. */
async function forgeLedger(change: () => Promise<unknown>): Promise<void> {
  await sql.unsafe('alter table llm_ledger disable trigger append_only');
  await change();
  await sql.unsafe('alter table llm_ledger enable trigger append_only');
}

describe('verify', () => {
  it('names a planted difference in each counter and each record', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '10' });
    const attempt = await startAttempt(sql, tenantId);
    const { reservationId } = await reserve(sql, attempt, '0.5');
    await recordUsage(sql, settlementOf(reservationId, '0.2'));
    await reserve(sql, attempt, '0.1');
    expect((await verifyBudgets(sql)).differences).toEqual([]);

    for (const counter of ['reserved_usd', 'spent_usd', 'unknown_usd']) {
      const names = await namesWith(
        `update llm_budget_periods set ${counter} = ${counter} + 0.000000001`,
        `update llm_budget_periods set ${counter} = ${counter} - 0.000000001`,
      );
      const rows = counter === 'spent_usd' ? 'llm_usage' : 'llm_reservations';
      expect(names).toEqual([`${counter} from llm_ledger`, `${counter} from ${rows}`]);
    }
    expect(
      await namesWith(
        "update llm_reservations set status = 'UNKNOWN' where status = 'APPLIED'",
        `update llm_reservations set status = 'APPLIED' where id = '${reservationId}'`,
      ),
    ).toEqual([
      'unknown_usd from llm_reservations',
      `ledger unknown of reservation ${reservationId}`,
      `usage of reservation ${reservationId}`,
    ]);
    await sql`
      insert into llm_ledger (tenant_id, budget_id, period_start, reservation_id, event,
        reserved_delta_usd, spent_delta_usd, unknown_delta_usd, available_delta_usd)
      select tenant_id, budget_id, period_start, id, 'reserve', 0, 0, 0, 0
      from llm_reservations where id = ${reservationId}`;
    expect((await verifyBudgets(sql)).differences).toEqual([
      {
        tenantId,
        periodStart: new Date().toISOString().slice(0, 8) + '01',
        name: `ledger entries of opening of reservation ${reservationId}`,
        stored: '1',
        recomputed: '2',
      },
    ]);
    await forgeLedger(() => sql`delete from llm_ledger where reservation_id = ${reservationId}`);
    await removeTenants(sql, tenantId);
  });

  it('names a changed overage, token count, item and hold of a settled call', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '10' });
    const attempt = await startAttempt(sql, tenantId);
    const { reservationId } = await reserve(sql, attempt, '0.5');
    await recordUsage(sql, settlementOf(reservationId, '0.7'));
    const of = ` of reservation ${reservationId}`;
    const usage = (change: string) =>
      `update llm_usage set ${change} where reservation_id = '${reservationId}'`;
    const item = (change: string) =>
      `update llm_usage_items set ${change} where reservation_id = '${reservationId}' and class = 'input'`;
    const cases: readonly (readonly [string, string, readonly string[]])[] = [
      [usage('overage_usd = 0.1'), usage('overage_usd = 0.2'), ['usage overage']],
      [usage('input_tokens = 11'), usage('input_tokens = 10'), ['usage input tokens']],
      [usage('output_tokens = 6'), usage('output_tokens = 5'), ['usage output tokens']],
      [usage('cached_tokens = 1'), usage('cached_tokens = 0'), ['usage cached tokens']],
      [usage('reasoning_tokens = 1'), usage('reasoning_tokens = 0'), ['usage reasoning tokens']],
      [usage('items = 4'), usage('items = 3'), ['usage items']],
      [item('count = 9'), item('count = 10'), ['usage input tokens']],
      [
        item("class = 'cache_read'"),
        "update llm_usage_items set class = 'input' where class = 'cache_read'",
        ['usage cached tokens'],
      ],
      [item('usd = 1, amount_usd = 0.00001'), item('usd = 0, amount_usd = 0'), ['usage cost']],
    ];
    for (const [plant, undo, names] of cases) {
      expect(await namesWith(plant, undo)).toEqual(names.map((name) => `${name}${of}`));
    }
    const estimate = (usd: string) =>
      `update llm_reservations set estimated_cost_usd = ${usd} where id = '${reservationId}'`;
    expect(await namesWith(estimate('0.4'), estimate('0.5'))).toEqual([
      `ledger hold${of}`,
      `usage overage${of}`,
    ]);
    expect((await verifyBudgets(sql)).differences).toEqual([]);
    await removeTenants(sql, tenantId);
    expect((await verifyBudgets(sql)).differences).toEqual([]);
  });

  it('names a ledger row of a budget, a period or a reservation that does not exist', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '10' });
    await reserve(sql, await startAttempt(sql, tenantId), '0.1');
    const [budget] = await sql<{ id: string; period: string }[]>`
      select budget_id as id, period_start::text as period from llm_budget_periods
      where tenant_id = ${tenantId}`;
    const nowhere = '00000000-0000-0000-0000-000000000000';
    const plant = async (budgetId: string, period: string, tenant = tenantId) => {
      await sql`
        insert into llm_ledger (tenant_id, budget_id, period_start, reservation_id, event,
          reserved_delta_usd, spent_delta_usd, unknown_delta_usd, available_delta_usd)
        values (${tenant}, ${budgetId}, ${period}, ${nowhere}, 'settle', 0, 1, 0, -1)`;
      const { differences } = await verifyBudgets(sql);
      await forgeLedger(() => sql`delete from llm_ledger where reservation_id = ${nowhere}`);
      return differences.map(({ name }) => name.replace(/entry \d+/, 'entry'));
    };
    const period = budget?.period ?? '';
    expect(await plant(nowhere, period)).toEqual(['budget of ledger entry']);
    expect(await plant(nowhere, period, 'never-was')).toEqual(['budget of ledger entry']);
    expect(await plant(budget?.id ?? '', '1999-01-01')).toEqual([
      'period of ledger entry',
      'reservation of ledger entry',
    ]);
    expect(await plant(budget?.id ?? '', period)).toEqual([
      'spent_usd from llm_ledger',
      'reservation of ledger entry',
    ]);
    await removeTenants(sql, tenantId);
    expect(await plant(budget?.id ?? '', period)).toEqual([
      `ledger entries of opening of reservation ${nowhere}`,
    ]);
  });

  it('finds no difference during concurrent traffic or after it', async () => {
    const attempts = await Promise.all(
      Array.from({ length: 4 }, async () =>
        startAttempt(sql, await addTenant(sql, { limitUsd: '2' })),
      ),
    );
    const traffic = { running: true, admitted: 0 };
    const lanes = attempts.flatMap((attempt, tenant) =>
      Array.from({ length: 3 }, async (_, lane) => {
        for (let call = 0; traffic.running; call += 1) {
          try {
            const hold = await reserve(wide, attempt, '0.01');
            traffic.admitted += 1;
            const turn = (call + lane + tenant) % 5;
            if (turn < 3) await markSent(wide, hold);
            if (turn < 2) await recordUsage(wide, settlementOf(hold.reservationId, '0.003'));
            if (turn === 2) await markUnknown(wide, hold);
            if (turn === 3) await releaseReservation(wide, hold);
          } catch (error) {
            if (!(error instanceof PurserError) || error.code !== 'budget_exceeded') throw error;
            await sleep(1);
          }
        }
      }),
    );
    for (let check = 0; check < 15; check += 1) {
      expect((await verifyBudgets(sql)).differences).toEqual([]);
    }
    traffic.running = false;
    await Promise.all(lanes);
    expect(traffic.admitted).toBeGreaterThan(50);
    const later = new Date(Date.now() + 3_600_000);
    await releaseExpiredReservations({ sql, now: later, limit: 10_000 });
    expect((await verifyBudgets(sql)).differences).toEqual([]);
    const [worst] = await sql`
      select max(spent_usd + unknown_usd + reserved_usd) <= 2 as within, sum(reserved_usd) = 0 as settled
      from llm_budget_periods`;
    expect(worst).toEqual({ within: true, settled: true });
  });
});

describe('budgets', () => {
  it('a tenant without calls follows its plan until an operator sets a limit', async () => {
    const tenantId = await addTenant(sql, { plan: 'free' });
    const [fresh] = await budgetStatus(sql, { tenantId });
    expect(fresh).toMatchObject({ monthlyLimitUsd: '1', hardLimit: true, limitSource: 'plan' });
    const attempt = await startAttempt(sql, tenantId);
    await reserve(sql, attempt, '0.25');
    await sql`update tenants set plan = 'pro' where id = ${tenantId}`;
    const [grown] = await budgetStatus(sql, { tenantId });
    expect(grown).toMatchObject({
      monthlyLimitUsd: '100',
      reservedUsd: '0.25',
      availableUsd: '99.75',
    });

    await setBudget(sql, { tenantId, monthlyLimitUsd: '25.00', hard: false });
    await sql`update tenants set plan = 'free' where id = ${tenantId}`;
    const [set] = await budgetStatus(sql, { tenantId });
    expect(set).toMatchObject({ monthlyLimitUsd: '25', hardLimit: false, limitSource: 'operator' });
  });

  it('a new limit is exact or refused, and an unknown tenant is an error', async () => {
    const tenantId = await addTenant(sql);
    for (const monthlyLimitUsd of ['-1', '1.0000000001', 'ten', '1000000000']) {
      await expect(setBudget(sql, { tenantId, monthlyLimitUsd, hard: true })).rejects.toThrow(
        /between 0 and 999999999|more than 9 decimals|not a decimal/,
      );
    }
    const status = await setBudget(sql, { tenantId, monthlyLimitUsd: '0.000000001', hard: true });
    expect(status.monthlyLimitUsd).toBe('0.000000001');
    await expect(
      setBudget(sql, { tenantId: 'nobody', monthlyLimitUsd: '1', hard: true }),
    ).rejects.toMatchObject({ code: 'unknown_tenant', message: expect.stringContaining('nobody') });
  });
});
