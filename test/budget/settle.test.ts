import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { releaseExpiredReservations } from '../../src/budget/expire.ts';
import { markSent } from '../../src/budget/reserve.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../src/budget/settle.ts';
import { verifyBudgets } from '../../src/budget/verify.ts';
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

async function tenantWithHold(usd: string) {
  const tenantId = await addTenant(sql, { limitUsd: '1' });
  const attempt = await startAttempt(sql, tenantId);
  const hold = await reserve(sql, attempt, usd);
  return { tenantId, attempt, hold };
}

async function eventsOf(reservationId: string) {
  const rows = await sql<{ event: string }[]>`
    select event from llm_ledger where reservation_id = ${reservationId} order by id`;
  return rows.map(({ event }) => event);
}

describe('settle', () => {
  it('the same settlement ten times in parallel is one usage and one ledger entry', async () => {
    const { tenantId, hold } = await tenantWithHold('0.5');
    const bill = settlementOf(hold.reservationId, '0.3');
    const all = await Promise.all(Array.from({ length: 10 }, () => recordUsage(wide, bill)));
    expect(all.filter(({ applied }) => applied)).toHaveLength(1);
    expect(await eventsOf(hold.reservationId)).toEqual(['reserve', 'settle']);
    const usage = await sql`select from llm_usage where reservation_id = ${hold.reservationId}`;
    expect(usage).toHaveLength(1);
    expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0.3', unknown: '0' });
  });

  it('other figures for a settled reservation are a conflict and change nothing', async () => {
    const { tenantId, hold } = await tenantWithHold('0.5');
    await recordUsage(sql, settlementOf(hold.reservationId, '0.3'));
    await expect(recordUsage(sql, settlementOf(hold.reservationId, '0.4'))).rejects.toMatchObject({
      code: 'idempotency_conflict',
      status: 409,
    });
    expect(await countersOf(sql, tenantId)).toMatchObject({ spent: '0.3' });
  });

  it('is accepted from an attempt that is no longer running: the money was spent', async () => {
    const { tenantId, attempt, hold } = await tenantWithHold('0.5');
    await endAttempt(sql, attempt);
    await expect(reserve(sql, attempt, '0.1')).rejects.toMatchObject({ code: 'stale_token' });
    expect(await recordUsage(sql, settlementOf(hold.reservationId, '0.3'))).toMatchObject({
      applied: true,
    });
    expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0.3', unknown: '0' });
  });

  it('more than the hold is charged in full and recorded as overage, beyond the limit too', async () => {
    const { tenantId, attempt, hold } = await tenantWithHold('0.5');
    const { overageNanoUsd } = await recordUsage(sql, settlementOf(hold.reservationId, '1.5'));
    expect(overageNanoUsd).toBe(1_000_000_000n);
    expect(await countersOf(sql, tenantId)).toMatchObject({ spent: '1.5' });
    expect((await verifyBudgets(sql)).overageUsd).toBe('1');
    await expect(reserve(sql, attempt, '0')).rejects.toMatchObject({ code: 'budget_exceeded' });
  });

  it('a late settlement replaces an unknown, and is charged after a release too', async () => {
    const { tenantId, attempt, hold } = await tenantWithHold('0.5');
    await markSent(sql, hold);
    await markUnknown(sql, hold);
    expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0', unknown: '0.5' });
    await recordUsage(sql, settlementOf(hold.reservationId, '0.2'));
    expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0.2', unknown: '0' });
    expect(await eventsOf(hold.reservationId)).toEqual(['reserve', 'unknown', 'settle']);

    const released = await reserve(sql, attempt, '0.5');
    await releaseReservation(sql, released);
    await recordUsage(sql, settlementOf(released.reservationId, '0.1'));
    expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0.3', unknown: '0' });
  });

  it('charges the month of the reservation, however late', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '1' });
    const attempt = await startAttempt(sql, tenantId);
    const hold = await reserve(sql, attempt, '0.5', { now: new Date('2026-07-31T23:59:59Z') });
    await recordUsage(
      sql,
      settlementOf(hold.reservationId, '0.4', new Date('2026-08-03T00:00:00Z')),
    );
    expect(await countersOf(sql, tenantId, '2026-07-01')).toMatchObject({ spent: '0.4' });
    expect(await countersOf(sql, tenantId, '2026-08-01')).toMatchObject({ spent: '0' });
  });

  it('settle, release and unknown at once: exactly one ends the hold, and a settlement always counts', async () => {
    for (let round = 0; round < 10; round += 1) {
      const { tenantId, hold } = await tenantWithHold('0.5');
      await Promise.all([
        releaseReservation(wide, hold),
        recordUsage(wide, settlementOf(hold.reservationId, '0.2')),
        markUnknown(wide, hold),
      ]);
      expect(await countersOf(sql, tenantId)).toEqual({
        reserved: '0',
        spent: '0.2',
        unknown: '0',
      });
    }
  });

  it('a settlement whose session is terminated changes nothing, and succeeds when repeated', async () => {
    const { tenantId, hold } = await tenantWithHold('0.5');
    const bill = settlementOf(hold.reservationId, '0.2');
    const mortal = connect(database.url, { max: 1, applicationName: 'purser test mortal' });
    let dying: Promise<unknown> = Promise.resolve();
    await wide.begin(async (tx) => {
      await tx`select from llm_budget_periods where tenant_id = ${tenantId} for update`;
      dying = recordUsage(mortal, bill).catch((error: unknown) => error);
      await untilWaiting(sql, 1);
      await sql`
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name = 'purser test mortal'`;
      await dying;
    });
    await mortal.end({ timeout: 0 });
    expect(await dying).toMatchObject({ code: 'store_unavailable' });
    expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0.5', spent: '0', unknown: '0' });
    await recordUsage(sql, bill);
    expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0.2', unknown: '0' });
  });

  it('an unknown reservation is an error that names it', async () => {
    const nobody = '00000000-0000-0000-0000-000000000000';
    await expect(recordUsage(sql, settlementOf(nobody, '0.2'))).rejects.toMatchObject({
      code: 'unknown_reservation',
    });
    expect(await releaseReservation(sql, { reservationId: nobody })).toBe(false);
  });
});

const at = (text: string) => new Date(`2026-05-10T${text}Z`);

describe('expiry', () => {
  it('a hold that was never sent is released; one that was sent stays charged', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '1' });
    const attempt = await startAttempt(sql, tenantId);
    const held = { now: at('10:00:00'), ttlMs: 60_000 };
    await reserve(sql, attempt, '0.1', held);
    const sent = await reserve(sql, attempt, '0.2', held);
    await markSent(sql, { ...sent, now: at('10:00:01') });

    const early = { sql, now: at('10:00:59'), limit: 100 };
    expect(await releaseExpiredReservations(early)).toEqual({ released: 0, unknown: 0 });
    const late = { sql, now: at('10:01:00'), limit: 100 };
    expect(await releaseExpiredReservations(late)).toEqual({ released: 1, unknown: 1 });
    expect(await releaseExpiredReservations(late)).toEqual({ released: 0, unknown: 0 });
    expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0', unknown: '0.2' });
    expect(await eventsOf(sent.reservationId)).toEqual(['reserve', 'unknown']);

    await recordUsage(sql, settlementOf(sent.reservationId, '0.15'));
    expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0.15', unknown: '0' });
  });

  it('concurrent sweepers and settlements end every hold once, without deadlock', async () => {
    const now = at('11:00:00');
    const tenants = await Promise.all(
      Array.from({ length: 5 }, async () => {
        const tenantId = await addTenant(sql, { limitUsd: '100' });
        return startAttempt(sql, tenantId);
      }),
    );
    const holds = await Promise.all(
      Array.from({ length: 100 }, (_, index) => {
        const attempt = tenants[index % tenants.length];
        if (attempt === undefined) throw new Error('no attempt');
        return reserve(wide, attempt, '0.1', { now, ttlMs: 1000 });
      }),
    );
    const sweep = { sql: wide, now: at('11:00:10'), limit: 7 };
    const ends = await Promise.all([
      ...Array.from({ length: 16 }, () => releaseExpiredReservations(sweep)),
      ...holds.slice(0, 30).map(async ({ reservationId }) => {
        await recordUsage(wide, settlementOf(reservationId, '0.05'));
        return { released: 0, unknown: 0 };
      }),
    ]);
    let released = ends.reduce((sum, end) => sum + end.released, 0);
    for (let more = 1; more > 0; released += more) {
      more = (await releaseExpiredReservations(sweep)).released;
    }
    // A settlement that came after its hold had expired is counted by both.
    expect(released).toBeGreaterThanOrEqual(70);
    expect(released).toBeLessThanOrEqual(100);
    const [left] = await sql`
      select count(*) filter (where status = 'RESERVED')::int as reserved,
        count(*) filter (where status = 'APPLIED')::int as applied
      from llm_reservations where created_at = ${now}`;
    expect(left).toEqual({ reserved: 0, applied: 30 });
  });
});

describe('the ledger', () => {
  it('is append-only for its owner too, and refuses an entry that does not sum to zero', async () => {
    for (const statement of [
      'update llm_ledger set spent_delta_usd = 0',
      'delete from llm_ledger',
      'truncate llm_ledger',
    ]) {
      await expect(sql.unsafe(statement)).rejects.toThrow(/append-only/);
    }
    const planted = sql`
      insert into llm_ledger (tenant_id, budget_id, period_start, reservation_id, event,
        reserved_delta_usd, spent_delta_usd, unknown_delta_usd, available_delta_usd)
      values ('t', gen_random_uuid(), '2026-01-01', gen_random_uuid(), 'settle', 0, 1, 0, 0)`;
    await expect(planted).rejects.toThrow(/deltas_sum_to_zero/);
  });
});
