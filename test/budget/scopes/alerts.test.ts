/** Alerts are written with the movement that passes a share of a limit, once per version of the limit. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { setBudget } from '../../../src/budget/budgets.ts';
import { resolveUnknown, topUpMonth } from '../../../src/budget/resolve.ts';
import { setScope } from '../../../src/budget/scopes.ts';
import { markUnknown, recordUsage } from '../../../src/budget/settle.ts';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve, settlementOf, untilWaiting } from '../../support/holds.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';

let database: TestDatabase;
let sql: Sql;
let wide: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
  wide = connect(database.url, { max: 10, applicationName: 'purser test fleet' });
});
afterAll(async () => {
  await assertBooksRight(sql);
  await wide.end({ timeout: 5 });
  await database.close();
});

async function alertsOf(tenantId: string): Promise<string[]> {
  const rows = await sql<{ text: string }[]>`
    select concat_ws(' ', kind, case when scope_period_id is null then 'month' else 'scope' end, percent,
      'of', trim_scale(limit_usd), 'at', trim_scale(used_usd)) as text
    from llm_alerts where tenant_id = ${tenantId} order by at, scope_period_id nulls first, percent`;
  return rows.map(({ text }) => text);
}

async function spend(tenantId: string, usd: string): Promise<void> {
  const { reservationId } = await reserve(sql, await startAttempt(sql, tenantId), usd);
  await recordUsage(sql, settlementOf(reservationId, usd));
}

it('each share of the month and of a scope is told once, by what is spent or unknown', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '10' });
  await setScope(sql, {
    tenantId,
    kind: 'tenant',
    period: 'day',
    limitUsd: '8',
    hard: true,
    by: 'test',
  });
  await spend(tenantId, '3');
  const held = await reserve(sql, await startAttempt(sql, tenantId), '2');
  expect(await alertsOf(tenantId)).toEqual([]);
  await markUnknown(sql, held);
  expect(await alertsOf(tenantId)).toEqual([
    'threshold month 50 of 10 at 5',
    'threshold scope 50 of 8 at 5',
  ]);
  await spend(tenantId, '3');
  expect((await alertsOf(tenantId)).slice(2)).toEqual([
    'threshold month 80 of 10 at 8',
    'threshold scope 80 of 8 at 8',
    'threshold scope 100 of 8 at 8',
  ]);
});

it('the half of a month without scopes is told to the nano-dollar', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '10' });
  await spend(tenantId, '4.999999999');
  expect(await alertsOf(tenantId)).toEqual([]);
  await spend(tenantId, '0.000000001');
  expect(await alertsOf(tenantId)).toEqual(['threshold month 50 of 10 at 5']);
});

it('a settlement that waits for a lower limit is measured by it', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '10' });
  await spend(tenantId, '2.4');
  const { reservationId } = await reserve(sql, await startAttempt(sql, tenantId), '0.2');
  let settling: Promise<unknown> = Promise.resolve();
  await sql.begin(async (tx) => {
    // As setBudget does.
    await tx`select purser.lock_months(${tenantId}, now())`;
    await tx`update llm_budgets set monthly_limit_usd = 5 where tenant_id = ${tenantId}`;
    settling = recordUsage(wide, settlementOf(reservationId, '0.2'));
    await untilWaiting(wide, 1);
  });
  await settling;
  expect(await alertsOf(tenantId)).toEqual(['threshold month 50 of 5 at 2.6']);
});

it('ten settlements at once raise each share once', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '1' });
  const attempt = await startAttempt(sql, tenantId);
  const holds = await Promise.all(Array.from({ length: 10 }, () => reserve(wide, attempt, '0.1')));
  await Promise.all(
    holds.map(({ reservationId }) => recordUsage(wide, settlementOf(reservationId, '0.1'))),
  );
  expect(await alertsOf(tenantId)).toHaveLength(3);
});

it('a new limit, and a top-up of the month, tell their shares again', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '10' });
  await spend(tenantId, '9');
  expect(await alertsOf(tenantId)).toEqual([
    'threshold month 50 of 10 at 9',
    'threshold month 80 of 10 at 9',
  ]);
  await topUpMonth(sql, { tenantId, usd: '2', reason: 'launch week', by: 'grace' });
  expect((await alertsOf(tenantId)).slice(2)).toEqual(['threshold month 50 of 12 at 9']);
  await spend(tenantId, '3');
  await setBudget(sql, { tenantId, monthlyLimitUsd: '10', hard: true });
  expect((await alertsOf(tenantId)).slice(3)).toEqual([
    'threshold month 80 of 12 at 12',
    'threshold month 100 of 12 at 12',
  ]);
  await setBudget(sql, { tenantId, monthlyLimitUsd: '20', hard: true });
  expect((await alertsOf(tenantId)).slice(5)).toEqual(['threshold month 50 of 22 at 12']);
});

it('a cost beyond its hold is told', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '10' });
  const { reservationId } = await reserve(sql, await startAttempt(sql, tenantId), '1');
  await recordUsage(sql, settlementOf(reservationId, '1.5'));
  expect(await alertsOf(tenantId)).toEqual(['overage month of 1 at 1.5']);
});

it('a cost beyond its hold that evidence shows is told, once', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '10' });
  const held = await reserve(sql, await startAttempt(sql, tenantId), '1');
  await markUnknown(sql, held);
  for (const [evidence, costNanoUsd] of [
    ['invoice', 1_500_000_000n],
    ['corrected invoice', 1_750_000_000n],
  ] as const) {
    await resolveUnknown(sql, { ...held, evidence, costNanoUsd, reason: 'billed', by: 'grace' });
  }
  expect(await alertsOf(tenantId)).toEqual(['overage month of 1 at 1.5']);
});

it.each([
  [{ usd: '0' }, /more than 0/],
  [{ usd: '-1' }, /more than 0/],
  [{ usd: '1.0000000001' }, /more than 9 decimals/],
  [{ reason: ' ' }, /reason/],
  [{ tenantId: 'nobody' }, /no tenant|nobody/],
])('a top-up of %j is refused', async (wrong, message) => {
  const tenantId = await addTenant(sql);
  const request = { tenantId, usd: '1', reason: 'why', by: 'grace' };
  await expect(topUpMonth(sql, { ...request, ...wrong })).rejects.toThrow(message);
});
