/** Money of calls with tenants' own keys: counted apart from the budget, through every end of a hold, to the nano-dollar. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { budgetStatus } from '../../../src/budget/budgets.ts';
import { releaseExpiredReservations } from '../../../src/budget/expire.ts';
import { parseUsd } from '../../../src/budget/money.ts';
import { markSent } from '../../../src/budget/reserve.ts';
import { assumeUnknown, resolveUnknown } from '../../../src/budget/resolve.ts';
import { setScope } from '../../../src/budget/scopes.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
import { setStop } from '../../../src/budget/stops.ts';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { countersOf, reserve, settlementOf } from '../../support/holds.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
import {
  codeOfRefusal,
  nothing,
  own,
  ownAttempt,
  ownCounters,
  sent,
  setKey,
} from './own-attempt.ts';

let database: TestDatabase;
let sql: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  sql = database.sql;
});
afterAll(() => database.close());
afterEach(() => assertBooksRight(sql));

describe('an own key that counts apart', () => {
  it('calls on a budget of zero, ten in parallel, and leaves the month as it was', async () => {
    const attempt = await ownAttempt(sql);
    const { tenantId } = attempt;
    const wide = connect(database.url, { max: 10, applicationName: 'purser test' });
    const holds = await Promise.all(
      Array.from({ length: 10 }, () => reserve(wide, attempt, '0.1', own)),
    );
    expect(await ownCounters(sql, tenantId)).toEqual({ ...nothing, reserved: '1' });
    await Promise.all(
      holds.map(({ reservationId }) => recordUsage(wide, settlementOf(reservationId, '0.03'))),
    );
    await wide.end();
    expect(await ownCounters(sql, tenantId)).toEqual({ ...nothing, spent: '0.3' });
    expect(await countersOf(sql, tenantId)).toEqual(nothing);
    expect((await budgetStatus(sql, { tenantId }))[0]).toMatchObject({
      currentMonthUsageUsd: '0',
      availableUsd: '0',
    });
    // The platform's key stays refused.
    expect(await codeOfRefusal(reserve(sql, attempt, '0.1'))).toBe('budget_exceeded');
  });

  it('takes a smaller form than the first only where a scope that counts it is full', async () => {
    const attempt = await ownAttempt(sql);
    const rung = {
      provider: 'openai',
      model: 'small',
      price: { source: 'test', model: 'm', rates: {} },
    };
    const fallbacks = [{ ...rung, model: 'tiny', holdNanoUsd: parseUsd('0.01') }];
    expect(await reserve(sql, attempt, '0.5', { ...own, fallbacks })).toMatchObject({ rung: 0 });
    await setScope(sql, {
      tenantId: attempt.tenantId,
      kind: 'provider_key',
      subject: 'own:openai',
      period: 'day',
      limitUsd: '0.6',
      hard: true,
      by: 'test',
    });
    expect(await reserve(sql, attempt, '0.5', { ...own, fallbacks })).toMatchObject({ rung: 1 });
  });

  it.each([
    ['settled', '0', '0.07', '0'],
    ['settled beyond its hold', '0', '0.4', '0'],
    ['released', '0', '0', '0'],
    ['unknown', '0', '0', '0.1'],
    ['unknown, then resolved', '0', '0.02', '0'],
    ['unknown, then assumed', '0', '0.1', '0'],
    ['unknown, then billed late', '0', '0.05', '0'],
    ['settled, then adjusted', '0', '0.01', '0'],
    ['expired unsent', '0', '0', '0'],
    ['expired after it was sent', '0', '0', '0.1'],
    ['released, then billed after all', '0', '0.06', '0'],
  ])('%s: moves the own counters alone', async (end, reserved, spent, unknown) => {
    const attempt = await ownAttempt(sql);
    const { tenantId } = attempt;
    const reservationId =
      end === 'expired unsent'
        ? (await reserve(sql, attempt, '0.1', own)).reservationId
        : await sent(sql, attempt, '0.1');
    // The key is removed before the call has ended: it ends as it was reserved.
    await sql`delete from llm_provider_keys where tenant_id = ${tenantId}`;
    const settle = (usd: string) => recordUsage(sql, settlementOf(reservationId, usd));
    const resolve = (usd: string) =>
      resolveUnknown(sql, {
        reservationId,
        evidence: `invoice ${end}`,
        costNanoUsd: parseUsd(usd),
        reason: 'test',
        by: 'test',
      });
    if (end.startsWith('unknown')) await markUnknown(sql, { reservationId });
    if (end.startsWith('released')) await releaseReservation(sql, { reservationId });
    if (end === 'settled') await settle('0.07');
    if (end === 'settled beyond its hold') await settle('0.4');
    if (end === 'unknown, then resolved') await resolve('0.02');
    if (end === 'unknown, then billed late') await settle('0.05');
    if (end === 'released, then billed after all') await settle('0.06');
    if (end === 'settled, then adjusted') {
      await settle('0.07');
      await resolve('0.01');
    }
    if (end === 'unknown, then assumed') await assumeUnknown(sql, { afterMs: 0, limit: 500 });
    if (end.startsWith('expired')) {
      await sql`update llm_reservations set expires_at = now() where id = ${reservationId}`;
      await releaseExpiredReservations({ sql, limit: 500 });
    }
    expect(await ownCounters(sql, tenantId)).toEqual({ reserved, spent, unknown });
    expect(await countersOf(sql, tenantId)).toEqual(nothing);
    // For the tests that sweep.
    if (end !== 'unknown' && end !== 'expired after it was sent') return;
    await settle('0.1');
  });

  it('counts in scopes of its key, end user and job, and in none of the platform, new ones too', async () => {
    const attempt = await ownAttempt(sql);
    const { tenantId } = attempt;
    const call = { ...own, endUser: 'ann' };
    const before = await reserve(sql, attempt, '0.1', call);
    for (const kind of ['tenant', 'job_type', 'model', 'provider_key', 'end_user'] as const) {
      const rest = { period: 'day', limitUsd: '0.25', hard: true, by: 'test' } as const;
      await setScope(sql, { tenantId, kind, ...rest });
    }
    await reserve(sql, attempt, '0.1', call);
    const scopes = await sql<{ kind: string; reserved: string; calls: string }[]>`
      select kind, trim_scale(reserved_usd)::text as reserved, calls from llm_scope_status
      where tenant_id = ${tenantId} and value is not null order by kind`;
    expect([...scopes]).toEqual([
      { kind: 'end_user', reserved: '0.2', calls: '2' },
      { kind: 'provider_key', reserved: '0.2', calls: '2' },
    ]);
    await expect(reserve(sql, attempt, '0.1', call)).rejects.toMatchObject({
      code: 'budget_exceeded',
      details: { scope: expect.stringMatching(/end_user|provider_key/), needed: '0.1' },
    });
    await recordUsage(sql, settlementOf(before.reservationId, '0.01'));
    await reserve(sql, attempt, '0.1', call);
  });

  it('is held by fair use and by stops like any other', async () => {
    const attempt = await ownAttempt(sql);
    const { tenantId } = attempt;
    await sql`update tenants set max_calls_in_flight = 1 where id = ${tenantId}`;
    await reserve(sql, attempt, '0.1', own);
    expect(await codeOfRefusal(reserve(sql, attempt, '0.1', own))).toBe('llm_fair_use');
    await sql`update tenants set max_calls_in_flight = 9 where id = ${tenantId}`;
    // A stop of other calls leaves this one apart from the budget of zero.
    await setStop(sql, { model: 'other', aborts: false, reason: 'test', by: 'test' });
    const held = await reserve(sql, attempt, '0.1', own);
    await setStop(sql, { tenantId, aborts: false, reason: 'test', by: 'test' });
    expect(await codeOfRefusal(reserve(sql, attempt, '0.1', own))).toBe('llm_stopped');
    expect(await codeOfRefusal(markSent(sql, held))).toBe('llm_stopped');
    await sql`delete from llm_stops`;
  });

  it('is not reserved for with a key that is gone; a replay of what was reserved is', async () => {
    const attempt = await ownAttempt(sql);
    const key = { ...own, idempotencyKey: 'once' };
    await reserve(sql, attempt, '0.1', key);
    await sql`delete from llm_provider_keys where tenant_id = ${attempt.tenantId}`;
    await expect(reserve(sql, attempt, '0.1', own)).rejects.toMatchObject({
      code: 'llm_own_key_removed',
      details: { class: 'retry' },
    });
    expect(await reserve(sql, attempt, '0.1', key)).toMatchObject({ replayed: true });
    // Nor with the key of another tenant.
    const other = await startAttempt(sql, await addTenant(sql, { limitUsd: '5' }));
    expect(await codeOfRefusal(reserve(sql, other, '0.1', own))).toBe('llm_own_key_removed');
  });
});

it('an own key that counts against the budget is refused by the month, and is in no own counter', async () => {
  const attempt = await ownAttempt(sql, '0.25', true);
  const { tenantId } = attempt;
  const [first] = [
    await reserve(sql, attempt, '0.1', own),
    await reserve(sql, attempt, '0.1', own),
  ];
  await expect(reserve(sql, attempt, '0.1', own)).rejects.toMatchObject({
    code: 'budget_exceeded',
    details: { scope: 'tenant', used: '0', reserved: '0.2' },
  });
  // What was reserved ends as it was reserved.
  await setKey(sql, tenantId, false);
  await recordUsage(sql, settlementOf(first.reservationId, '0.04'));
  expect(await countersOf(sql, tenantId)).toEqual({ ...nothing, reserved: '0.1', spent: '0.04' });
  expect(await ownCounters(sql, tenantId)).toEqual(nothing);
});
