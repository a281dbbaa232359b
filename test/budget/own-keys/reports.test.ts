/** Reports and checks of calls with tenants' own keys, and jobs that wait for room in a scope of one. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { listOpenCalls, sumCosts } from '../../../src/budget/reconcile/ledger.ts';
import { dailyCosts } from '../../../src/budget/report/daily.ts';
import { focusCsv } from '../../../src/budget/report/focus.ts';
import { budgetReport } from '../../../src/budget/report/report.ts';
import { listUnknownHolds } from '../../../src/budget/report/unknown.ts';
import { setScope } from '../../../src/budget/scopes.ts';
import { markUnknown, recordUsage } from '../../../src/budget/settle.ts';
import { verifyBudgets } from '../../../src/budget/verify.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { wakeParkedJobs } from '../../../src/jobs/sweep.ts';
import { addJobType, finish, jobRow, runningJob } from '../../jobs/job-steps.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve, settlementOf } from '../../support/holds.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
import { codeOfRefusal, own, ownAttempt, sent, setKey } from './own-attempt.ts';

let database: TestDatabase;
let sql: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  sql = database.sql;
  await addJobType(sql);
});
afterAll(() => database.close());
afterEach(() => assertBooksRight(sql));

it('reports tell whose key paid, and the month what its limit is compared with', async () => {
  const attempt = await ownAttempt(sql, '5');
  const { tenantId } = attempt;
  await recordUsage(sql, settlementOf(await sent(sql, attempt, '0.1'), '0.03'));
  const unknown = await sent(sql, attempt, '0.2');
  await markUnknown(sql, { reservationId: unknown });
  const platform = await reserve(sql, attempt, '0.5', { provider: 'openai', model: 'small' });
  await recordUsage(sql, settlementOf(platform.reservationId, '0.4'));
  const scope = { kind: 'provider_key', subject: 'own:openai', period: 'day' } as const;
  await setScope(sql, { tenantId, ...scope, limitCalls: 0, hard: true, by: 'test' });
  expect(await codeOfRefusal(reserve(sql, attempt, '0.1', own))).toBe('budget_exceeded');
  const { rows, total, apart } = await budgetReport(sql, { tenantId });
  expect(rows).toMatchObject([
    {
      providerKey: 'own:openai',
      countsApart: true,
      spentUsd: '0.03',
      unknownUsd: '0.2',
      calls: 2,
      refused: 1,
    },
    { providerKey: 'platform', countsApart: false, spentUsd: '0.4', calls: 1, refused: 0 },
  ]);
  expect([total.spentUsd, apart.spentUsd, apart.unknownUsd]).toEqual(['0.4', '0.03', '0.2']);
  const { month, days } = await dailyCosts(sql, { tenantId });
  const [header = '', ...lines] = focusCsv(month, days);
  expect(header).toMatch(/^BilledCost,BillingAccountId/);
  expect(lines.map((line) => line.split(',').slice(0, 2))).toEqual([
    ['0.03', 'purser-own-keys'],
    ['0.4', 'purser'],
  ]);
  expect(lines.map((line) => line.includes('purser:provider_key'))).toEqual([true, false]);
  const { oldest } = await listUnknownHolds(sql, { tenantId, limit: 9 });
  expect(oldest).toMatchObject([{ reservationId: unknown, providerKey: 'own:openai' }]);
  // On the platform's bill stand the calls of its own keys.
  const range = { provider: 'openai', from: new Date(0), to: new Date(Date.now() + 86_400_000) };
  await sql.begin(async (tx) => {
    expect(await sumCosts(tx, range)).toMatchObject([{ calls: 1 }]);
    expect(await listOpenCalls(tx, range)).toEqual([]);
  });
});

it('verify names an own counter, a ledger row and a pin that are wrong', async () => {
  const attempt = await ownAttempt(sql);
  const { tenantId } = attempt;
  const reservationId = await sent(sql, attempt, '0.1');
  const broken = async (break_: (tx: Sql) => PromiseLike<unknown>): Promise<string[]> => {
    await break_(sql);
    const { differences } = await verifyBudgets(sql);
    return differences.map(({ name }) => name);
  };
  expect(
    await broken(
      (tx) => tx`
        update llm_budget_periods set own_reserved_usd = 0, reserved_usd = 0.1 where tenant_id = ${tenantId}`,
    ),
  ).toEqual([
    'own_reserved_usd from llm_ledger',
    'own_reserved_usd from llm_reservations',
    'reserved_usd from llm_ledger',
    'reserved_usd from llm_reservations',
  ]);
  await sql`
    update llm_budget_periods set own_reserved_usd = 0.1, reserved_usd = 0 where tenant_id = ${tenantId}`;
  expect(
    await broken(
      (tx) => tx`update llm_reservations set counts_apart = false where id = ${reservationId}`,
    ),
  ).toContain(`ledger counters of reservation ${reservationId}`);
  await sql`update llm_reservations set counts_apart = true where id = ${reservationId}`;
  await setScope(sql, {
    tenantId,
    kind: 'tenant',
    period: 'day',
    limitUsd: '1',
    hard: true,
    by: 'test',
  });
  const platform = await startAttempt(sql, tenantId);
  await sql`update llm_budgets set monthly_limit_usd = 1 where tenant_id = ${tenantId}`;
  const { reservationId: pinned } = await reserve(sql, platform, '0.2');
  expect(
    await broken(
      (tx) => tx`
        insert into llm_pins (reservation_id, scope_period_id, tenant_id)
        select ${reservationId}, scope_period_id, tenant_id from llm_pins where reservation_id = ${pinned}`,
    ),
  ).toContain(`pin of reservation ${reservationId} to scope tenant ${tenantId}`);
  await sql`delete from llm_pins where reservation_id = ${reservationId}`;
});

it('a job that a scope of its own key refused wakes with the scope, whatever the month has', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '0' });
  await setKey(sql, tenantId);
  const scope = (limitUsd: string) =>
    setScope(sql, {
      tenantId,
      kind: 'provider_key',
      subject: 'own:openai',
      period: 'month',
      limitUsd,
      hard: true,
      by: 'test',
    });
  await scope('0.1');
  const park = async (neededUsd: string, priority: number, call: object) => {
    const attempt = await runningJob(sql, tenantId, { priority });
    expect(await codeOfRefusal(reserve(sql, attempt, neededUsd, call))).toBe('budget_exceeded');
    const until = new Date(Date.now() + 20 * 86_400_000);
    await finish(sql, attempt, { toState: 'parked', neededUsd, until, countsAttempt: false });
    return attempt.jobId;
  };
  const ofOwn = await park('0.5', 9, own);
  const ofPlatform = await park('0.3', 1, {});
  const states = async () => [
    (await jobRow(sql, ofOwn)).state,
    (await jobRow(sql, ofPlatform)).state,
  ];
  await wakeParkedJobs(sql);
  expect(await states()).toEqual(['parked', 'parked']);
  // The platform's room is not held back by what the own key needs.
  await sql`update llm_budgets set monthly_limit_usd = 0.4 where tenant_id = ${tenantId}`;
  await wakeParkedJobs(sql);
  expect(await states()).toEqual(['parked', 'pending']);
  // Nor is the own key held back by a month that has less than nothing left.
  await sql`update llm_budgets set monthly_limit_usd = 0 where tenant_id = ${tenantId}`;
  await scope('0.6');
  await wakeParkedJobs(sql);
  expect(await states()).toEqual(['pending', 'pending']);
});
