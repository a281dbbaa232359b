import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { setBudget } from '../../src/budget/budgets.ts';
import { markSent } from '../../src/budget/reserve.ts';
import { recordUsage, releaseReservation } from '../../src/budget/settle.ts';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { assertBooksRight } from '../support/ledger.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { settlementOf, countersOf, reserve, untilWaiting } from '../support/holds.ts';
import { addTenant, endAttempt, startAttempt } from '../support/tenants.ts';

let database: TestDatabase;
let sql: Sql;
let wide: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
  wide = connect(database.url, { max: 20, applicationName: 'purser test fleet' });
});
afterAll(async () => {
  await wide.end({ timeout: 5 });
  await database.close();
});
afterEach(async () => {
  await assertBooksRight(sql);
});

const exceeded = { code: 'budget_exceeded' };
const stale = { code: 'stale_token' };

describe('reserve', () => {
  it('the first calls of a tenant, 50 in parallel, create one budget and one period and are not refused', async () => {
    const tenantId = await addTenant(sql, { plan: 'starter' });
    const attempt = await startAttempt(sql, tenantId);
    const calls = Array.from({ length: 50 }, () => reserve(wide, attempt, '0.1'));
    await Promise.all(calls);
    expect(await countersOf(sql, tenantId)).toEqual({ reserved: '5', spent: '0', unknown: '0' });
    await expect(reserve(wide, attempt, '0.000000001')).rejects.toMatchObject(exceeded);
    const rows = await sql`
      select b.monthly_limit_usd, b.hard_limit, b.limit_source, count(*)::int as periods
      from llm_budgets b join llm_budget_periods p on p.budget_id = b.id
      where b.tenant_id = ${tenantId} group by b.id`;
    expect([...rows]).toEqual([
      { monthly_limit_usd: '5.000000000', hard_limit: true, limit_source: 'plan', periods: 1 },
    ]);
  });

  it('50 parallel calls in a new month start from zero without a reset', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '1' });
    const attempt = await startAttempt(sql, tenantId);
    const july = { now: new Date('2026-07-31T23:59:59.999Z') };
    const august = { now: new Date('2026-08-01T00:00:00.000Z') };
    await reserve(sql, attempt, '1', july);
    await expect(reserve(sql, attempt, '1', july)).rejects.toMatchObject({
      details: { resets_at: '2026-08-01T00:00:00.000Z' },
    });
    await Promise.all(Array.from({ length: 50 }, () => reserve(wide, attempt, '0.02', august)));
    await expect(reserve(sql, attempt, '0.02', august)).rejects.toMatchObject(exceeded);
    expect(await countersOf(sql, tenantId, '2026-07-01')).toMatchObject({ reserved: '1' });
    expect(await countersOf(sql, tenantId, '2026-08-01')).toMatchObject({ reserved: '1' });
  });

  it('admits up to the last nano-dollar and not one more', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '0.000000003' });
    const attempt = await startAttempt(sql, tenantId);
    await reserve(sql, attempt, '0.000000002');
    await expect(reserve(sql, attempt, '0.000000002')).rejects.toMatchObject(exceeded);
    await reserve(sql, attempt, '0.000000001');
    await expect(reserve(sql, attempt, '0.000000001')).rejects.toMatchObject({
      details: { reserved: '0.000000003', used: '0', needed: '0.000000001' },
    });
  });

  it('a soft limit admits and flags', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '0.1', hard: false });
    const attempt = await startAttempt(sql, tenantId);
    expect(await reserve(sql, attempt, '0.1')).toMatchObject({ overLimit: false });
    expect(await reserve(sql, attempt, '0.1')).toMatchObject({ overLimit: true });
  });

  it('unknown money counts against the limit, released money does not', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '0.1' });
    const attempt = await startAttempt(sql, tenantId);
    const first = await reserve(sql, attempt, '0.1');
    await releaseReservation(sql, first);
    const second = await reserve(sql, attempt, '0.1');
    await recordUsage(sql, settlementOf(second.reservationId, '0.01'));
    await reserve(sql, attempt, '0.09');
    await expect(reserve(sql, attempt, '0.01')).rejects.toMatchObject(exceeded);
  });

  it('an attempt that ended, another tenant, another job or another attempt cannot reserve', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '1' });
    const attempt = await startAttempt(sql, tenantId);
    const neighbour = await addTenant(sql, { limitUsd: '1' });
    for (const change of [{ tenantId: neighbour }, { jobId: '7' }, { attempt: 2 }]) {
      await expect(reserve(sql, attempt, '0.1', change)).rejects.toMatchObject(stale);
    }
    await endAttempt(sql, attempt);
    await expect(reserve(sql, attempt, '0.1')).rejects.toMatchObject(stale);
    expect(await countersOf(sql, tenantId)).toMatchObject({ reserved: '0' });
  });

  it('a reserve during the end of its attempt waits and is refused', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '1' });
    const attempt = await startAttempt(sql, tenantId);
    let outcome: Promise<unknown> = Promise.resolve();
    await wide.begin(async (tx) => {
      await tx`delete from purser.in_flight where token = ${attempt.token}`;
      outcome = reserve(wide, attempt, '0.1').catch((error: unknown) => error);
      await untilWaiting(sql, 1);
    });
    expect(await outcome).toMatchObject(stale);
  });

  it('a limit that is lowered while a reserve waits is the one that applies', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '1' });
    const attempt = await startAttempt(sql, tenantId);
    await reserve(sql, attempt, '0.1');
    let outcome: Promise<unknown> = Promise.resolve();
    await wide.begin(async (tx) => {
      await tx`select from llm_budget_periods where tenant_id = ${tenantId} for update`;
      outcome = reserve(wide, attempt, '0.5').catch((error: unknown) => error);
      await untilWaiting(sql, 1);
      await tx`update llm_budgets set monthly_limit_usd = 0.2 where tenant_id = ${tenantId}`;
    });
    expect(await outcome).toMatchObject({
      ...exceeded,
      details: { limit: '0.2', reserved: '0.1' },
    });
  });

  it('a refusal of the pre-check takes no lock', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '0.1' });
    const attempt = await startAttempt(sql, tenantId);
    await reserve(sql, attempt, '0.1');
    await wide.begin(async (tx) => {
      await tx`select from llm_budget_periods where tenant_id = ${tenantId} for update`;
      await expect(reserve(sql, attempt, '0.1')).rejects.toMatchObject(exceeded);
    });
  });

  it('the same key ten times in parallel is one hold, even where a second would exceed the limit', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '0.1' });
    const attempt = await startAttempt(sql, tenantId);
    const key = { idempotencyKey: 'the-same' };
    const all = await Promise.all(
      Array.from({ length: 10 }, () => reserve(wide, attempt, '0.1', key)),
    );
    expect(new Set(all.map(({ reservationId }) => reservationId)).size).toBe(1);
    expect(all.filter(({ replayed }) => !replayed)).toHaveLength(1);
    expect(await countersOf(sql, tenantId)).toMatchObject({ reserved: '0.1' });
  });

  it('another payload under the same key is a conflict, regardless of the budget', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '0.1' });
    const attempt = await startAttempt(sql, tenantId);
    const key = { idempotencyKey: 'the-same' };
    await reserve(sql, attempt, '0.1', key);
    const other = await startAttempt(sql, tenantId);
    for (const call of [
      () => reserve(sql, attempt, '0.2', key),
      () => reserve(sql, attempt, '0.1', { ...key, model: 'another' }),
      () => reserve(sql, other, '0.1', key),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: 'idempotency_conflict', status: 409 });
    }
    const neighbour = await startAttempt(sql, await addTenant(sql, { limitUsd: '1' }));
    expect(await reserve(sql, neighbour, '0.2', key)).toMatchObject({ replayed: false });
  });

  it('a request can be marked as sent once, and not after its hold ended', async () => {
    const attempt = await startAttempt(sql, await addTenant(sql, { limitUsd: '1' }));
    const sent = await reserve(sql, attempt, '0.1');
    const marks = await Promise.all(Array.from({ length: 5 }, () => markSent(wide, sent)));
    expect(marks.filter(Boolean)).toHaveLength(1);
    const released = await reserve(sql, attempt, '0.1');
    await releaseReservation(sql, released);
    expect(await markSent(sql, released)).toBe(false);
    const late = await reserve(sql, attempt, '0.1', { ttlMs: 1000 });
    const now = new Date(late.expiresAt.getTime() + 1);
    expect(await markSent(sql, { ...late, now })).toBe(false);
  });

  it('refuses amounts that the column cannot store exactly', async () => {
    const attempt = await startAttempt(sql, await addTenant(sql, { limitUsd: '1', hard: false }));
    for (const holdNanoUsd of [-1n, 10n ** 18n]) {
      await expect(reserve(sql, attempt, '0', { holdNanoUsd })).rejects.toThrow(/invalid_amount/);
    }
    for (const amount of ['NaN', '0.0000000001', 'Infinity']) {
      await expect(sql`select purser.check_amount(${amount}::numeric)`).rejects.toThrow(
        /invalid_amount/,
      );
    }
  });

  it('refuses to run in a REPEATABLE READ transaction', async () => {
    const attempt = await startAttempt(sql, await addTenant(sql, { limitUsd: '1' }));
    const run = sql.begin(
      'isolation level repeatable read',
      (tx) =>
        tx`select purser.budget_reserve(${attempt.tenantId}, ${attempt.jobId}::bigint, 1, ${attempt.token}::uuid,
        'k', interval '1 minute', 'platform', null,
        '[{"provider":"p","model":"m","price":{},"hold_usd":0.1}]', null)`,
    );
    await expect(run).rejects.toThrow(/wrong_isolation/);
  });

  it('an unavailable database refuses with 503', async () => {
    const nowhere = connect('postgres://nobody@127.0.0.1:1/none', {
      max: 1,
      applicationName: 'purser test',
    });
    const attempt = await startAttempt(sql, await addTenant(sql));
    await expect(reserve(nowhere, attempt, '0.1')).rejects.toMatchObject({
      code: 'store_unavailable',
      status: 503,
      details: { class: 'snooze' },
    });
    await nowhere.end();
  });

  it('a tenant role can neither read budgets nor move money', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '1' });
    for (const statement of [
      'select from llm_budgets',
      'select from llm_budget_status',
      'select from llm_prices',
      'update llm_budgets set monthly_limit_usd = 1000',
      "select purser.budget_close('{}', 'RELEASED', null)",
    ]) {
      const run = sql.begin(async (tx) => {
        await tx`set local role purser_tenant`;
        await tx.unsafe(statement);
      });
      await expect(run).rejects.toThrow(/permission denied/);
    }
    await expect(
      setBudget(sql, { tenantId, monthlyLimitUsd: '2', hard: true }),
    ).resolves.toBeTruthy();
  });
});
