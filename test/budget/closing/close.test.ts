/** Months that have ended are closed by checkpoints; what moves later is behind them, and verify begins there. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { closeEndedMonths, closeMonth } from '../../../src/budget/closing/close.ts';
import { addUpSpend } from '../../../src/budget/spend/add-up.ts';
import { markSent } from '../../../src/budget/reserve.ts';
import { resolveUnknown } from '../../../src/budget/resolve.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
import { verifyBudgets } from '../../../src/budget/verify.ts';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { countersOf, reserve, settlementOf } from '../../support/holds.ts';
import { addTenant, removeTenants, startAttempt } from '../../support/tenants.ts';
import type { TestAttempt } from '../../support/tenants.ts';

let database: TestDatabase;
let sql: Sql;
let wide: Sql;
let attempt: TestAttempt;
const now = new Date('2026-01-20T00:00:00Z');
const after = { afterMs: 0, limit: 100 };

beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
  wide = connect(database.url, { max: 8, applicationName: 'purser test schedulers' });
});
afterAll(async () => {
  await wide.end({ timeout: 5 });
  await database.close();
});
beforeEach(async () => {
  await removeTenants(sql);
  await sql`alter table llm_period_checkpoints disable trigger append_only`;
  await sql`delete from llm_period_checkpoints`;
  await sql`alter table llm_period_checkpoints enable trigger append_only`;
  attempt = await startAttempt(sql, await addTenant(sql, { limitUsd: '10' }));
});

/** A settled, a released and an unknown call in January. */
async function calls() {
  const settled = await reserve(sql, attempt, '0.5', { now });
  await recordUsage(sql, settlementOf(settled.reservationId, '0.2', now));
  const released = await reserve(sql, attempt, '0.25', { now });
  await releaseReservation(sql, { reservationId: released.reservationId, now });
  const unknown = await reserve(sql, attempt, '1', { now });
  await markSent(sql, { reservationId: unknown.reservationId, now });
  await markUnknown(sql, { reservationId: unknown.reservationId, now });
  return { settled: settled.reservationId, unknown: unknown.reservationId };
}

const checkpoints = () => sql`
  select period_start::text as month, trim_scale(spent_usd)::text as spent, trim_scale(unknown_usd)::text as unknown,
    trim_scale(reserved_usd)::text as reserved, trim_scale(available_usd)::text as available, entries::int,
    settled_calls::int as settled, released_calls::int as released, unknown_calls::int as "unknownCalls", set_by as by
  from llm_period_checkpoints order by position`;

const namesIn = async (full: boolean) =>
  (await verifyBudgets(sql, { full })).differences
    .filter(({ tenantId }) => tenantId === attempt.tenantId)
    .map(({ name }) =>
      name.replace(/checkpoint at \d+/, 'checkpoint').replace(/[0-9a-f-]{36}/, 'R'),
    );

async function forge(table: string, run: () => Promise<unknown>): Promise<void> {
  await sql.unsafe(`alter table ${table} disable trigger append_only`);
  await run();
  await sql.unsafe(`alter table ${table} enable trigger append_only`);
}

const january = {
  month: '2026-01-01',
  spent: '0.2',
  unknown: '1',
  reserved: '0',
  available: '-1.2',
  entries: 6,
  settled: 1,
  released: 1,
  unknownCalls: 1,
  by: 'scheduler',
};

describe('a month', () => {
  it('is closed when it has ended and has no open hold, by exactly one of many schedulers', async () => {
    await calls();
    const open = await reserve(sql, attempt, '0.1', { now });
    await reserve(sql, attempt, '0.1');
    expect(await closeEndedMonths(sql, after)).toBe(0);
    await releaseReservation(sql, { reservationId: open.reservationId, now });
    // Not before its time: 5000 days after its end.
    expect(await closeEndedMonths(sql, { afterMs: 5000 * 86_400_000, limit: 100 })).toBe(0);
    const closed = await Promise.all(
      Array.from({ length: 8 }, () => closeEndedMonths(wide, after)),
    );
    expect(closed.reduce((sum, one) => sum + one, 0)).toBe(1);
    expect(await checkpoints()).toEqual([{ ...january, entries: 8, released: 2 }]);
    expect(await verifyBudgets(sql)).toMatchObject({ checkpointed: 1, differences: [] });
    expect(await verifyBudgets(sql, { full: true })).toMatchObject({ differences: [] });
    for (const change of ['delete from', 'truncate']) {
      await expect(sql.unsafe(`${change} llm_period_checkpoints`)).rejects.toThrow(/append-only/);
    }
  });

  it('takes late settlements and corrections, and its next checkpoint goes on from the last one', async () => {
    const { settled, unknown } = await calls();
    expect(await closeMonth(sql, { month: '2026-01', by: 'alice' })).toEqual({
      month: '2026-01',
      closed: 1,
      open: 0,
    });
    expect(await closeMonth(sql, { month: '2026-01', by: 'bob' })).toMatchObject({ closed: 0 });
    await recordUsage(sql, settlementOf(unknown, '0.75'));
    const evidence = { evidence: 'invoice', reason: 'test', by: 'test' };
    await resolveUnknown(sql, { reservationId: settled, costNanoUsd: 300_000_000n, ...evidence });
    expect(await countersOf(sql, attempt.tenantId, '2026-01-01')).toMatchObject({ spent: '1.05' });
    // Between the checkpoints: the first one and the rows after it.
    expect([await namesIn(false), await namesIn(true)]).toEqual([[], []]);
    expect(await closeEndedMonths(sql, after)).toBe(1);
    expect(await checkpoints()).toEqual([
      { ...january, by: 'alice' },
      {
        ...january,
        spent: '1.05',
        unknown: '0',
        available: '-1.05',
        entries: 8,
        settled: 2,
        unknownCalls: 0,
      },
    ]);
    expect([await namesIn(false), await namesIn(true)]).toEqual([[], []]);
    expect(await closeEndedMonths(sql, after)).toBe(0);
  });

  it('is not closed before it has ended, and a bad month is refused', async () => {
    const month = new Date().toISOString().slice(0, 7);
    await expect(closeMonth(sql, { month, by: 'alice' })).rejects.toThrow(/has not ended/);
    for (const bad of ['', '2026', '2026-13', '2026-1', "2026-01'; --", '2026-01-01']) {
      await expect(closeMonth(sql, { month: bad, by: 'alice' })).rejects.toThrow(
        /a month is written like 2026-01/,
      );
    }
  });
});

describe('verify', () => {
  it('begins after what is behind checkpoints: rows that are dropped are not missed, only by --full', async () => {
    await calls();
    await closeEndedMonths(sql, after);
    const hold = await reserve(sql, attempt, '0.1');
    const [before] = await sql<{ id: string }[]>`select purser.checkpointed_ledger_id() as id`;
    const [rows] = await sql<{ first: string; dropped: number }[]>`
      select min(id) filter (where reservation_id = ${hold.reservationId}) as first,
        (count(*) filter (where id <= ${before?.id ?? '0'}::bigint))::int as dropped
      from llm_ledger where tenant_id = ${attempt.tenantId}`;
    expect(BigInt(before?.id ?? '0')).toBe(BigInt(rows?.first ?? '0') - 1n);
    expect(rows?.dropped).toBe(6);
    // Only what is added up may be dropped. The first call notes the id that it may go to.
    await addUpSpend(sql);
    await addUpSpend(sql);
    await forge('llm_ledger', () => sql`delete from llm_ledger where id <= ${before?.id ?? '0'}`);
    expect(await namesIn(false)).toEqual([]);
    const names = await namesIn(true);
    expect(names).toContain('digest of the checkpoint');
    expect(names).toContain('spent_usd from llm_ledger');
    // A late settlement is behind the checkpoint: its row is not dropped before the next one.
    const [unknown] = await sql<{ id: string }[]>`
      select id from llm_reservations where status = 'UNKNOWN'`;
    await recordUsage(sql, settlementOf(unknown?.id ?? '', '2'));
    await recordUsage(sql, settlementOf(hold.reservationId, '0.1'));
    expect(await namesIn(false)).toEqual([]);
    const late = () => sql`
      select l.id > purser.checkpointed_ledger_id() as kept from llm_ledger l
      where l.reservation_id = ${unknown?.id ?? ''} order by l.id desc limit 1`;
    expect(await late()).toEqual([{ kept: true }]);
  });

  it('names a counter, a row and a checkpoint that were changed after the close', async () => {
    await calls();
    await closeEndedMonths(sql, after);
    await sql`update llm_budget_periods set spent_usd = spent_usd + 1 where period_start = '2026-01-01'`;
    expect(await namesIn(false)).toEqual(['spent_usd from llm_ledger', 'spent_usd by day']);
    await sql`update llm_budget_periods set spent_usd = spent_usd - 1 where period_start = '2026-01-01'`;
    await forge(
      'llm_ledger',
      () =>
        sql`update llm_ledger set spent_delta_usd = 0.3, available_delta_usd = 0.2 where event = 'settle' and tenant_id = ${attempt.tenantId}`,
    );
    expect(await namesIn(true)).toEqual([
      'spent_usd from llm_ledger',
      'ledger spent of reservation R',
      'available_usd of the checkpoint',
      'digest of the checkpoint',
      'spent_usd of the checkpoint',
    ]);
    await forge(
      'llm_ledger',
      () =>
        sql`update llm_ledger set spent_delta_usd = 0.2, available_delta_usd = 0.3 where event = 'settle' and tenant_id = ${attempt.tenantId}`,
    );
    expect(await namesIn(true)).toEqual([]);
    await forge(
      'llm_period_checkpoints',
      () => sql`update llm_period_checkpoints set unknown_usd = 2, available_usd = -2.2`,
    );
    expect(await namesIn(false)).toEqual(['unknown_usd from llm_ledger']);
    expect(await namesIn(true)).toEqual([
      'available_usd of the checkpoint',
      'unknown_usd of the checkpoint',
    ]);
  });
});
