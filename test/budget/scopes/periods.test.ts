/** Periods of scopes in their own time zones. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { setScope } from '../../../src/budget/scopes.ts';
import { recordUsage } from '../../../src/budget/settle.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve, settlementOf } from '../../support/holds.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';

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

const at = (text: string) => ({ now: new Date(text) });

async function periodsOf(tenantId: string) {
  const rows = await sql<{ starts: Date; ends: Date; reserved: string }[]>`
    select starts_at as starts, ends_at as ends, trim_scale(reserved_usd) as reserved
    from llm_scope_periods where tenant_id = ${tenantId} order by starts_at`;
  return rows.map(({ starts, ends, reserved }) => [
    starts.toISOString(),
    ends.toISOString(),
    reserved,
  ]);
}

async function tenantWith(period: 'day' | 'month', timeZone: string, now: string) {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  const set = (zone: string, at: string) =>
    setScope(sql, {
      tenantId,
      kind: 'tenant',
      period,
      timeZone: zone,
      limitUsd: '1',
      hard: true,
      by: 'test',
      now: new Date(at),
    });
  await set(timeZone, now);
  return { tenantId, attempt: await startAttempt(sql, tenantId), set };
}

it('days have 23 and 25 hours where the clock changes', async () => {
  const { tenantId, attempt } = await tenantWith('day', 'Europe/Berlin', '2026-03-28T12:00:00Z');
  await reserve(sql, attempt, '1', at('2026-03-28T23:00:00Z'));
  await expect(reserve(sql, attempt, '0.1', at('2026-03-29T21:59:59.999Z'))).rejects.toThrow(
    /daily limit/,
  );
  await reserve(sql, attempt, '1', at('2026-03-29T22:00:00Z'));
  await reserve(sql, attempt, '1', at('2026-10-25T22:59:59Z'));
  await reserve(sql, attempt, '1', at('2026-10-25T23:00:00Z'));
  expect(await periodsOf(tenantId)).toEqual([
    ['2026-03-28T23:00:00.000Z', '2026-03-29T22:00:00.000Z', '1'],
    ['2026-03-29T22:00:00.000Z', '2026-03-30T22:00:00.000Z', '1'],
    ['2026-10-24T22:00:00.000Z', '2026-10-25T23:00:00.000Z', '1'],
    ['2026-10-25T23:00:00.000Z', '2026-10-26T23:00:00.000Z', '1'],
  ]);
});

it('a change of the zone begins when the running period ends, and no period is short', async () => {
  const { tenantId, attempt, set } = await tenantWith('month', 'UTC', '2026-06-10T00:00:00Z');
  await reserve(sql, attempt, '1', at('2026-06-10T00:00:00Z'));
  await set('America/Los_Angeles', '2026-06-20T00:00:00Z');
  await expect(reserve(sql, attempt, '0.1', at('2026-06-30T23:59:00Z'))).rejects.toThrow(
    /monthly limit/,
  );
  // 17:00 of 30 June there: the seven hours that are left of June are part of July.
  await reserve(sql, attempt, '1', at('2026-07-01T00:00:00Z'));
  await expect(reserve(sql, attempt, '0.1', at('2026-07-01T08:00:00Z'))).rejects.toThrow(
    /monthly limit/,
  );
  await reserve(sql, attempt, '1', at('2026-08-01T07:00:00Z'));
  expect(await periodsOf(tenantId)).toEqual([
    ['2026-06-01T00:00:00.000Z', '2026-07-01T00:00:00.000Z', '1'],
    ['2026-07-01T00:00:00.000Z', '2026-08-01T07:00:00.000Z', '1'],
    ['2026-08-01T07:00:00.000Z', '2026-09-01T07:00:00.000Z', '1'],
  ]);
});

it('a zone ahead shortens the next period by its difference alone', async () => {
  const { tenantId, attempt, set } = await tenantWith('day', 'UTC', '2026-06-10T00:00:00Z');
  await reserve(sql, attempt, '1', at('2026-06-10T00:00:00Z'));
  await set('Asia/Tokyo', '2026-06-10T01:00:00Z');
  await reserve(sql, attempt, '1', at('2026-06-11T00:00:00Z'));
  expect(await periodsOf(tenantId)).toEqual([
    ['2026-06-10T00:00:00.000Z', '2026-06-11T00:00:00.000Z', '1'],
    ['2026-06-11T00:00:00.000Z', '2026-06-11T15:00:00.000Z', '1'],
  ]);
});

it('a late settlement is charged to the period of its reservation', async () => {
  const { tenantId, attempt } = await tenantWith('day', 'UTC', '2026-06-10T00:00:00Z');
  const { reservationId } = await reserve(sql, attempt, '1', at('2026-06-10T23:59:59Z'));
  await reserve(sql, attempt, '1', at('2026-06-11T00:00:00Z'));
  await recordUsage(sql, settlementOf(reservationId, '0.7', new Date('2026-06-11T00:00:01Z')));
  const [first] = await sql<{ spent: string; reserved: string }[]>`
    select trim_scale(spent_usd) as spent, trim_scale(reserved_usd) as reserved from llm_scope_periods
    where tenant_id = ${tenantId} order by starts_at limit 1`;
  expect(first).toEqual({ spent: '0.7', reserved: '0' });
});

it.each(['Mars/Olympus', '+02:00', '', "x'; drop table tenants; --"])(
  '%j is no time zone',
  async (timeZone) => {
    const tenantId = await addTenant(sql);
    await expect(
      setScope(sql, {
        tenantId,
        kind: 'tenant',
        period: 'day',
        timeZone,
        limitUsd: '1',
        hard: true,
        by: 'test',
      }),
    ).rejects.toThrow(/is not an IANA time zone/);
  },
);
