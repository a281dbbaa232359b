/** Scopes are exact under concurrency, from their first call on, and for requests with cheaper forms. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { BudgetExceededError } from '../../../src/budget/budget-exceeded.ts';
import { parseUsd } from '../../../src/budget/money.ts';
import type { ReserveRequest } from '../../../src/budget/reserve.ts';
import { scopeStatus, setScope } from '../../../src/budget/scopes.ts';
import type { SetScopeRequest } from '../../../src/budget/scopes.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
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
  wide = connect(database.url, { max: 20, applicationName: 'purser test fleet' });
});
afterEach(() => assertBooksRight(sql));
afterAll(async () => {
  await wide.end({ timeout: 5 });
  await database.close();
});

type Limits = Omit<SetScopeRequest, 'tenantId' | 'hard' | 'by'> & { readonly hard?: boolean };

const limit = (tenantId: string, limits: Limits) =>
  setScope(sql, { hard: true, ...limits, tenantId, by: 'test' });

async function refusal(run: Promise<unknown>): Promise<BudgetExceededError> {
  const error: unknown = await run.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof BudgetExceededError) return error;
  throw new Error(`expected a refusal, not ${String(error)}`);
}

it('of 50 calls at once, on limits of the day, the model and the user, exactly those leave that fit', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await limit(tenantId, { kind: 'tenant', period: 'day', limitUsd: '1.2' });
  await limit(tenantId, { kind: 'model', subject: 'big', period: 'month', limitUsd: '1' });
  await limit(tenantId, { kind: 'end_user', period: 'day', limitCalls: 7 });
  const attempt = await startAttempt(sql, tenantId);
  const ended = await Promise.allSettled(
    Array.from({ length: 50 }, (_, index) =>
      reserve(wide, attempt, '0.1', { model: 'big', endUser: index % 2 === 0 ? 'ada' : 'bob' }),
    ),
  );
  expect(ended.filter(({ status }) => status === 'fulfilled')).toHaveLength(10);
  expect(await scopeStatus(sql, { tenantId })).toContainEqual(
    expect.objectContaining({ kind: 'model', value: 'big', reservedUsd: '1', calls: 10 }),
  );
});

it('a scope that is added while calls run counts each of them once', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  const attempt = await startAttempt(sql, tenantId);
  const calls = Array.from({ length: 40 }, async (_, index) => {
    const { reservationId } = await reserve(wide, attempt, '0.1', { endUser: `user ${index % 3}` });
    if (index % 4 === 0) await recordUsage(wide, settlementOf(reservationId, '0.05'));
    if (index % 4 === 1) await releaseReservation(wide, { reservationId });
    if (index % 4 === 2) await markUnknown(wide, { reservationId });
  });
  const scopes = [
    limit(tenantId, { kind: 'end_user', period: 'day', limitUsd: '50' }),
    limit(tenantId, { kind: 'tenant', period: 'month', limitUsd: '50' }),
  ];
  await Promise.all([...calls, ...scopes]);
  // Ten of each: settled at 0.05, released, unknown at 0.1, held at 0.1.
  expect(await scopeStatus(sql, { tenantId })).toContainEqual(
    expect.objectContaining({
      kind: 'tenant',
      spentUsd: '0.5',
      unknownUsd: '1',
      reservedUsd: '1',
      calls: 30,
    }),
  );
});

it('a settlement of the month before and a reserve lock the day that both are in by one order', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  for (const kind of ['tenant', 'end_user'] as const) {
    await limit(tenantId, { kind, period: 'day', timeZone: 'America/New_York', limitUsd: '50' });
  }
  const attempt = await startAttempt(sql, tenantId);
  const reserveAt = (now: Date) => reserve(wide, attempt, '0.1', { endUser: 'ada', now });
  const { reservationId } = await reserveAt(new Date('2026-06-30T23:00:00Z'));
  const [last] = await sql<{ id: string }[]>`
    select max(id) as id from llm_scope_periods where tenant_id = ${tenantId}`;
  let running: readonly Promise<unknown>[] = [];
  await sql.begin(async (tx) => {
    await tx`select from llm_scope_periods where id = ${last?.id ?? null} for update`;
    const settling = recordUsage(wide, settlementOf(reservationId, '0.1'));
    await untilWaiting(wide, 1);
    running = [settling, reserveAt(new Date('2026-07-01T01:00:00Z'))];
    await untilWaiting(wide, 2);
  });
  const ended = await Promise.allSettled(running);
  expect(ended.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled']);
});

it('a new scope refuses by what was spent before it', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  const attempt = await startAttempt(sql, tenantId);
  const { reservationId } = await reserve(sql, attempt, '0.9', { model: 'big' });
  await recordUsage(sql, settlementOf(reservationId, '0.8'));
  await limit(tenantId, { kind: 'model', subject: 'big', period: 'day', limitUsd: '1' });
  const error = await refusal(reserve(sql, attempt, '0.3', { model: 'big' }));
  expect(error.details).toMatchObject({ scope: 'model', used: '0.8' });
});

it('what does not fit is made cheaper in the order of the fallbacks, then smaller', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await limit(tenantId, { kind: 'model', subject: 'big', period: 'day', limitUsd: '1' });
  await limit(tenantId, { kind: 'tenant', period: 'day', limitUsd: '2' });
  const attempt = await startAttempt(sql, tenantId);
  const price = { source: 'test', model: 'small', rates: {} };
  const small = {
    provider: 'test',
    model: 'small',
    price,
    holdNanoUsd: parseUsd('0.6'),
    maxOutputTokens: 500,
  };
  const ladder: Partial<ReserveRequest> = {
    model: 'big',
    maxOutputTokens: 1000,
    fallbacks: [
      small,
      { ...small, smaller: { minOutputTokens: 100, fixedUsd: '0.1', outputUsdPerMtok: '1000' } },
    ],
  };
  expect(await reserve(sql, attempt, '0.9', ladder)).toMatchObject({
    rung: 0,
    maxOutputTokens: 1000,
  });
  expect(await reserve(sql, attempt, '0.9', ladder)).toMatchObject({
    rung: 1,
    maxOutputTokens: 500,
    holdNanoUsd: parseUsd('0.6'),
  });
  // 0.5 is left: 0.1 for the input, and 400 tokens at 0.001.
  const key = { idempotencyKey: 'shrunk' };
  const shrunk = { rung: 2, maxOutputTokens: 400, holdNanoUsd: parseUsd('0.5') };
  expect(await reserve(sql, attempt, '0.9', { ...ladder, ...key })).toMatchObject(shrunk);
  expect(await reserve(sql, attempt, '0.9', { ...ladder, ...key })).toMatchObject({
    ...shrunk,
    replayed: true,
  });
  // Each call counts in the scopes of the model that it was made of.
  expect(await scopeStatus(sql, { tenantId })).toContainEqual(
    expect.objectContaining({ kind: 'model', value: 'big', reservedUsd: '0.9', calls: 1 }),
  );
  const error = await refusal(reserve(sql, attempt, '0.9', ladder));
  expect(error.details).toMatchObject({
    scope: 'tenant',
    period: 'day',
    needed: '0.2',
    reserved: '2',
  });
  await expect(reserve(sql, attempt, '0.8', { ...ladder, ...key })).rejects.toMatchObject({
    code: 'idempotency_conflict',
  });
});
