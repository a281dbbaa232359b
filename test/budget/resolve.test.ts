/** Unknown holds end by evidence or by policy, and a settled cost is corrected by an entry of its own. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { parseUsd } from '../../src/budget/money.ts';
import { assumeUnknown, resolveUnknown } from '../../src/budget/resolve.ts';
import { setScope } from '../../src/budget/scopes.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../src/budget/settle.ts';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { countersOf, reserve, settlementOf } from '../support/holds.ts';
import { assertBooksRight } from '../support/ledger.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

let database: TestDatabase;
let sql: Sql;
let wide: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
  wide = connect(database.url, { max: 10, applicationName: 'purser test fleet' });
});
afterEach(() => assertBooksRight(sql));
afterAll(async () => {
  await wide.end({ timeout: 5 });
  await database.close();
});

/** A hold of $1 of a tenant with a daily scope, ended as unknown. */
async function unknownHold(now = new Date()) {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await setScope(sql, {
    tenantId,
    kind: 'tenant',
    period: 'day',
    limitUsd: '50',
    hard: true,
    by: 'test',
    now,
  });
  const { reservationId } = await reserve(sql, await startAttempt(sql, tenantId), '1', { now });
  await markUnknown(sql, { reservationId, now });
  return { tenantId, reservationId };
}

const scopeOf = async (tenantId: string) => {
  const [row] = await sql<{ spent: string; unknown: string; calls: number }[]>`
    select trim_scale(spent_usd) as spent, trim_scale(unknown_usd) as unknown, calls::int
    from llm_scope_periods where tenant_id = ${tenantId}`;
  return row;
};

const ledgerOf = async (reservationId: string) => {
  const rows = await sql<{ event: string; spent: string; unknown: string }[]>`
    select event, trim_scale(spent_delta_usd) as spent, trim_scale(unknown_delta_usd) as unknown
    from llm_ledger where reservation_id = ${reservationId} order by id`;
  return rows.map(({ event, spent, unknown }) => `${event} ${spent} ${unknown}`);
};

const evidence = { evidence: 'invoice 7 line 3', reason: 'November invoice', by: 'grace' };

it('evidence settles an unknown hold at its cost, once', async () => {
  const { tenantId, reservationId } = await unknownHold();
  const request = { reservationId, costNanoUsd: parseUsd('0.4'), ...evidence };
  const ends = await Promise.all(Array.from({ length: 10 }, () => resolveUnknown(wide, request)));
  expect(ends.map(({ outcome }) => outcome).toSorted()).toEqual([
    ...Array.from({ length: 9 }, () => 'repeated'),
    'settled',
  ]);
  expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0.4', unknown: '0' });
  expect(await scopeOf(tenantId)).toEqual({ spent: '0.4', unknown: '0', calls: 1 });
  expect(await ledgerOf(reservationId)).toEqual(['reserve 0 0', 'unknown 0 1', 'settle 0.4 -1']);
  await expect(
    resolveUnknown(sql, { ...request, costNanoUsd: parseUsd('0.5') }),
  ).rejects.toMatchObject({ code: 'idempotency_conflict', status: 409 });
});

it('an unknown hold that was not billed is settled at nothing', async () => {
  const { tenantId, reservationId } = await unknownHold();
  await resolveUnknown(sql, { reservationId, costNanoUsd: 0n, ...evidence });
  expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0', unknown: '0' });
});

it('later evidence corrects a settled cost by an entry, up and down', async () => {
  const { tenantId, reservationId } = await unknownHold();
  await resolveUnknown(sql, { reservationId, costNanoUsd: parseUsd('0.4'), ...evidence });
  const corrected = { reservationId, costNanoUsd: parseUsd('0.7'), evidence: 'invoice 8' };
  expect(await resolveUnknown(sql, corrected)).toEqual({
    outcome: 'adjusted',
    beforeNanoUsd: parseUsd('0.4'),
  });
  expect(await resolveUnknown(sql, { ...corrected, evidence: 'invoice 9' })).toMatchObject({
    outcome: 'unchanged',
  });
  await resolveUnknown(sql, {
    reservationId,
    costNanoUsd: parseUsd('0.1'),
    evidence: 'credit note',
  });
  expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0.1', unknown: '0' });
  expect(await scopeOf(tenantId)).toEqual({ spent: '0.1', unknown: '0', calls: 1 });
  expect((await ledgerOf(reservationId)).slice(2)).toEqual([
    'settle 0.4 -1',
    'adjust 0.3 0',
    'adjust -0.6 0',
  ]);
});

it('what stays unknown for two days is settled at the hold, and a late report corrects it', async () => {
  const old = new Date(Date.now() - 49 * 3_600_000);
  const { tenantId, reservationId } = await unknownHold(old);
  const young = await unknownHold();
  const twoDays = { afterMs: 48 * 3_600_000, limit: 100 };
  const ended = await Promise.all(Array.from({ length: 4 }, () => assumeUnknown(wide, twoDays)));
  expect(ended.reduce((sum, one) => sum + one)).toBe(1);
  expect(await countersOf(sql, tenantId)).toMatchObject({ spent: '1', unknown: '0' });
  expect(await countersOf(sql, young.tenantId)).toMatchObject({ spent: '0', unknown: '1' });
  const [usage] = await sql`select assumed from llm_usage where reservation_id = ${reservationId}`;
  expect(usage).toEqual({ assumed: true });

  const report = settlementOf(reservationId, '0.25');
  const settled = await Promise.all(Array.from({ length: 10 }, () => recordUsage(wide, report)));
  expect(settled.filter(({ applied }) => applied)).toHaveLength(1);
  expect(await countersOf(sql, tenantId)).toEqual({ reserved: '0', spent: '0.25', unknown: '0' });
  expect((await ledgerOf(reservationId)).slice(2)).toEqual(['settle 1 -1', 'adjust -0.75 0']);
  await expect(recordUsage(sql, settlementOf(reservationId, '0.3'))).rejects.toMatchObject({
    status: 409,
  });
});

it('a released hold that was billed after all is charged and counted as a call again', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await setScope(sql, {
    tenantId,
    kind: 'tenant',
    period: 'day',
    limitCalls: 5,
    hard: true,
    by: 'test',
  });
  const { reservationId } = await reserve(sql, await startAttempt(sql, tenantId), '1');
  await releaseReservation(sql, { reservationId });
  expect(await scopeOf(tenantId)).toMatchObject({ calls: 0 });
  await resolveUnknown(sql, { reservationId, costNanoUsd: parseUsd('0.2'), ...evidence });
  expect(await scopeOf(tenantId)).toEqual({ spent: '0.2', unknown: '0', calls: 1 });
});

it('a running hold, one that is not there, and evidence without a name are refused', async () => {
  const { reservationId } = await reserve(
    sql,
    await startAttempt(sql, await addTenant(sql)),
    '0.1',
  );
  const cost = { costNanoUsd: 1n };
  await expect(resolveUnknown(sql, { reservationId, ...cost, ...evidence })).rejects.toMatchObject({
    code: 'hold_running',
  });
  const nowhere = '00000000-0000-4000-8000-000000000000';
  await expect(
    resolveUnknown(sql, { reservationId: nowhere, ...cost, ...evidence }),
  ).rejects.toMatchObject({ code: 'unknown_reservation' });
  await expect(resolveUnknown(sql, { reservationId, ...cost, evidence: '' })).rejects.toThrow(
    /evidence/,
  );
  await expect(
    resolveUnknown(sql, { reservationId, costNanoUsd: -1n, ...evidence }),
  ).rejects.toThrow(/invalid_amount/);
});

it('what is known of an unknown call is kept with it', async () => {
  const { reservationId } = await reserve(
    sql,
    await startAttempt(sql, await addTenant(sql)),
    '0.1',
  );
  await markUnknown(sql, { reservationId, requestId: 'req_1', receivedOutputTokens: 17 });
  const [kept] = await sql`
    select request_id, received_output_tokens::int as received from llm_reservations where id = ${reservationId}`;
  expect(kept).toEqual({ request_id: 'req_1', received: 17 });
});
