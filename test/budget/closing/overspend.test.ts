/** Each admission is judged by the limit of its moment: verify counts those above a hard one, and leaks and lost usage. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { setBudget } from '../../../src/budget/budgets.ts';
import { closeEndedMonths } from '../../../src/budget/closing/close.ts';
import { markSent } from '../../../src/budget/reserve.ts';
import { topUpMonth } from '../../../src/budget/resolve.ts';
import { removeScope, setScope } from '../../../src/budget/scopes.ts';
import type { SetScopeRequest } from '../../../src/budget/scopes.ts';
import { recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
import { verifyBudgets } from '../../../src/budget/verify.ts';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { codeOf } from '../../../src/errors.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve, settlementOf, untilWaiting } from '../../support/holds.ts';
import { addTenant, removeTenants, startAttempt } from '../../support/tenants.ts';
import type { TestAttempt } from '../../support/tenants.ts';
import { install } from '../model/mutants.ts';

let database: TestDatabase;
let sql: Sql;
let wide: Sql;
let attempt: TestAttempt;
let tenantId: string;

beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
  wide = connect(database.url, { max: 8, applicationName: 'purser test calls' });
});
afterAll(async () => {
  await wide.end({ timeout: 5 });
  await database.close();
});
beforeEach(async () => {
  await removeTenants(sql);
  await sql`alter table llm_ledger disable trigger append_only`;
  await sql`delete from llm_ledger`;
  await sql`alter table llm_ledger enable trigger append_only`;
  tenantId = await addTenant(sql, { limitUsd: '1', plan: 'free' });
  attempt = await startAttempt(sql, tenantId);
});

const spend = async (usd: string, overrides = {}): Promise<string> => {
  const { reservationId } = await reserve(sql, attempt, usd, overrides);
  await recordUsage(sql, settlementOf(reservationId, usd));
  return reservationId;
};
const limit = (monthlyLimitUsd: string, hard = true) =>
  setBudget(sql, { tenantId, monthlyLimitUsd, hard });
const figures = async () => {
  const { overspends, overspentUsd, admissions, beyondSoftLimits, faults } =
    await verifyBudgets(sql);
  return {
    overspends,
    overspentUsd,
    admissions,
    beyondSoftLimits,
    named: faults.map(({ name }) => name),
  };
};
const clean = { overspends: 0, overspentUsd: '0', beyondSoftLimits: 0, named: [] };
const scope = (more: Pick<SetScopeRequest, 'kind' | 'period'> & Partial<SetScopeRequest>) =>
  setScope(sql, { tenantId, hard: true, by: 'test', ...more });

/** Runs with a choice that asks no limit. */
async function unlimited<T>(run: () => Promise<T>): Promise<T> {
  const restoreMonth = await install(sql, {
    name: 'the month is not asked',
    function: 'budget_reserve',
    changes: [['if v_at.hard_limit and v_choice.over_limit', 'if false']],
  });
  const restoreScopes = await install(sql, {
    name: 'no scope is asked',
    function: 'choose_rung',
    changes: [['where n.binds', 'where false']],
  });
  try {
    return await run();
  } finally {
    await restoreMonth();
    await restoreScopes();
  }
}

describe('overspend', () => {
  it('is none where limits fell below what was spent, were soft, or were raised by a top-up', async () => {
    await spend('0.9');
    await limit('0.1');
    await expect(reserve(sql, attempt, '0.1')).rejects.toMatchObject({ code: 'budget_exceeded' });
    await topUpMonth(sql, { tenantId, usd: '1', reason: 'test', by: 'test' });
    await spend('0.2');
    expect(await figures()).toEqual({ ...clean, admissions: 2 });
    await limit('0.1', false);
    await spend('0.5');
    await limit('2');
    await spend('1.4');
    expect(await figures()).toEqual({ ...clean, admissions: 4, beyondSoftLimits: 1 });
  });

  it('is each admission above the hard limit of its moment, named, and by how much', async () => {
    await spend('0.9');
    const over = await unlimited(() => spend('0.3'));
    // A limit that is raised afterwards excuses nothing.
    await limit('5');
    await spend('1');
    expect(await figures()).toEqual({
      overspends: 1,
      overspentUsd: '0.2',
      admissions: 3,
      beyondSoftLimits: 0,
      named: [`overspend by reservation ${over}`],
    });
  });

  it('is judged by the plan, whose change waits for a running reserve', async () => {
    await removeTenants(sql);
    tenantId = await addTenant(sql, { plan: 'pro' });
    attempt = await startAttempt(sql, tenantId);
    await spend('1');
    let reserved: Promise<unknown> = Promise.resolve();
    let changed: Promise<unknown> = Promise.resolve();
    await sql.begin(async (tx) => {
      await tx`lock table llm_ledger in share mode`;
      reserved = reserve(wide, attempt, '50').then(() => 'reserved', codeOf);
      await untilWaiting(sql, 1);
      changed = wide`update tenants set plan = 'free' where id = ${tenantId}`.execute();
      await untilWaiting(sql, 2);
    });
    expect(await reserved).toBe('reserved');
    await changed;
    expect(await figures()).toEqual({ ...clean, admissions: 2 });
    await expect(reserve(sql, attempt, '0.1')).rejects.toMatchObject({ code: 'budget_exceeded' });
    const changes = await sql`
      select trim_scale(old_limit_usd)::text as old, trim_scale(limit_usd)::text as new, set_by as by
      from llm_limit_changes where tenant_id = ${tenantId} order by position`;
    expect(changes).toEqual([
      { old: null, new: '100', by: 'plan' },
      { old: '100', new: '1', by: 'plan' },
    ]);
    for (const change of [
      'update llm_limit_changes set removed = true',
      'delete from llm_limit_changes',
    ]) {
      await expect(sql.unsafe(change)).rejects.toThrow(/append-only/);
    }
  });

  it('of a scope is judged from when it was added, in dollars and calls, with what was called before', async () => {
    await limit('100');
    await spend('3');
    await scope({ kind: 'tenant', period: 'day', limitUsd: '1', limitCalls: 9 });
    await scope({ kind: 'model', period: 'month', limitCalls: 2 });
    // Does not bind: its model has a scope of its own, from then on.
    await scope({ kind: 'model', subject: 'test-model', period: 'month', limitCalls: 4 });
    expect(await figures()).toEqual({ ...clean, admissions: 1 });
    const over = await unlimited(() => spend('0.5'));
    expect(await figures()).toEqual({
      overspends: 1,
      overspentUsd: '0.5',
      admissions: 2,
      beyondSoftLimits: 0,
      named: [`overspend of scope tenant ${tenantId} by reservation ${over}`],
    });
    await removeScope(sql, { tenantId, kind: 'tenant', period: 'day' });
    const { reservationId } = await reserve(sql, attempt, '0.5');
    await releaseReservation(sql, { reservationId });
    await spend('0.5');
    await spend('0.5');
    // Of five calls one was released.
    expect(await figures()).toEqual({ ...clean, admissions: 5 });
    await expect(reserve(sql, attempt, '0.5')).rejects.toMatchObject({ code: 'budget_exceeded' });
    const fifth = await unlimited(() => spend('0.5'));
    await removeScope(sql, { tenantId, kind: 'model', subject: 'test-model', period: 'month' });
    const sixth = await unlimited(() => spend('0.5'));
    expect(await figures()).toMatchObject({
      overspends: 1,
      named: [`overspend of scope model test-model by reservation ${sixth}`],
    });
    expect(fifth).not.toBe(sixth);
  });

  it('is counted on from a checkpoint, and not again of what is behind it', async () => {
    const now = new Date('2026-01-20T00:00:00Z');
    await spend('0.9', { now });
    await unlimited(() => spend('0.3', { now }));
    expect(await figures()).toMatchObject({ overspends: 1, admissions: 2 });
    await closeEndedMonths(sql, { afterMs: 0, limit: 10 });
    await spend('0.9');
    expect(await figures()).toMatchObject({ overspends: 0, admissions: 1 });
    expect(await verifyBudgets(sql, { full: true })).toMatchObject({
      overspends: 1,
      admissions: 3,
    });
    const late = await unlimited(() => spend('0.1', { now }));
    expect((await figures()).named).toEqual([`overspend by reservation ${late}`]);
  });
});

describe('leaks and lost usage', () => {
  it('are holds that no sweep ended a minute after their expiry, and what was sent with them', async () => {
    const held = await reserve(sql, attempt, '0.1', { ttlMs: 1_000 });
    const sent = await reserve(sql, attempt, '0.1', { ttlMs: 60_000 });
    await markSent(sql, sent);
    await sql`update llm_reservations set expires_at = now() - interval '59 seconds'`;
    expect(await verifyBudgets(sql)).toMatchObject({ leakedHolds: 0, lostUsage: 0, faults: [] });
    await sql`update llm_reservations set expires_at = now() - interval '61 seconds'`;
    const found = await verifyBudgets(sql);
    expect(found).toMatchObject({ leakedHolds: 2, lostUsage: 1, differences: [] });
    expect(found.faults.map(({ name }) => name).toSorted()).toEqual(
      [held, sent].map(({ reservationId }) => `hold of reservation ${reservationId}`).toSorted(),
    );
  });
});
