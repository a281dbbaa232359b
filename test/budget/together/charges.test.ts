/** Reserves and settlements of one tenant that meet in a worker go in one transaction, and none of them can tell. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { gatherCharges } from '../../../src/budget/charges.ts';
import type { Charges } from '../../../src/budget/charges.ts';
import { releaseExpiredReservations } from '../../../src/budget/expire.ts';
import type { ReserveRequest } from '../../../src/budget/reserve.ts';
import { removeScope, setScope } from '../../../src/budget/scopes.ts';
import { recordUsage } from '../../../src/budget/settle.ts';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { codeOf } from '../../../src/errors.ts';
import { newToken } from '../../../src/jobs/attempts.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { countersOf, holdOf, settlementOf, untilWaiting } from '../../support/holds.ts';
import { outcomes, together } from './worker.ts';
import { addTenant, endAttempt, startAttempt } from '../../support/tenants.ts';
import type { TestAttempt } from '../../support/tenants.ts';

let database: TestDatabase;
let sql: Sql;
let wide: Sql;
let charges: Charges;
beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
  wide = connect(database.url, { max: 8, applicationName: 'purser test worker' });
  charges = gatherCharges(wide);
});
afterAll(async () => {
  await wide.end({ timeout: 5 });
  await database.close();
});
afterEach(async () => {
  await assertBooksRight(sql);
});

const start = async (limitUsd: string): Promise<TestAttempt> =>
  startAttempt(sql, await addTenant(sql, { limitUsd }));

/** Transactions that wrote the tenant's reservations. */
const transactions = async (tenantId: string): Promise<number> => {
  const [row] = await sql<{ count: number }[]>`
    select count(distinct r.xmin::text)::int as count
    from llm_reservations r where r.tenant_id = ${tenantId}`;
  return row?.count ?? 0;
};

it('of 50 reserves on a budget for ten, ten are admitted, in few transactions', async () => {
  const attempt = await start('1.002');
  await charges.reserve(holdOf(attempt, '0.001'));
  const settled = await together({ sql, wide, charges }, attempt, () =>
    Array.from({ length: 50 }, () => charges.reserve(holdOf(attempt, '0.1'))),
  );
  expect(outcomes(settled)).toEqual({ ok: 10, budget_exceeded: 40 });
  expect(await countersOf(sql, attempt.tenantId)).toMatchObject({ reserved: '1.002' });
  expect(await transactions(attempt.tenantId)).toBeLessThanOrEqual(4);
});

it('two workers that decide at the same moment admit no more than the budget', async () => {
  const attempt = await start('1');
  await charges.reserve(holdOf(attempt, '0.1'));
  const other = gatherCharges(wide);
  let answers: Promise<PromiseSettledResult<unknown>[]> = Promise.resolve([]);
  await wide.begin(async (tx) => {
    await tx`select from llm_budget_periods where tenant_id = ${attempt.tenantId} for update`;
    answers = Promise.allSettled(
      [charges, other].flatMap((worker) =>
        Array.from({ length: 8 }, () => worker.reserve(holdOf(attempt, '0.1'))),
      ),
    );
    await untilWaiting(sql, 2);
  });
  expect(outcomes(await answers)).toEqual({ ok: 9, budget_exceeded: 7 });
});

it('each is answered for itself: a repeat, another request under its key, and an ended attempt', async () => {
  const attempt = await start('1');
  const ended = await startAttempt(sql, attempt.tenantId);
  await endAttempt(sql, ended);
  await charges.reserve(holdOf(attempt, '0.001'));
  const request = holdOf(attempt, '0.01');
  const requests: readonly ReserveRequest[] = [
    request,
    request,
    { ...request, holdNanoUsd: 20_000_000n },
    holdOf(ended, '0.01'),
    holdOf({ ...attempt, token: newToken(attempt.jobId) }, '0.01'),
    holdOf(attempt, '5'),
    holdOf(attempt, '0.02'),
    holdOf(attempt, '0.03', { now: new Date('2026-01-31T23:59:59Z') }),
  ];
  const settled = await together({ sql, wide, charges }, attempt, () =>
    requests.map(charges.reserve),
  );
  const [first, repeated, conflict, stale, forged, tooMuch, other, january] = settled.map((one) =>
    one.status === 'fulfilled' ? one.value : codeOf(one.reason),
  );
  expect(repeated).toMatchObject({ replayed: true });
  expect(first).toMatchObject({ replayed: false, holdNanoUsd: 10_000_000n });
  expect([conflict, stale, forged, tooMuch]).toEqual([
    'idempotency_conflict',
    'stale_token',
    'stale_token',
    'budget_exceeded',
  ]);
  expect(other).toMatchObject({ holdNanoUsd: 20_000_000n });
  expect(january).toMatchObject({ holdNanoUsd: 30_000_000n });
  expect(await countersOf(sql, attempt.tenantId, '2026-01-01')).toMatchObject({ reserved: '0.03' });
});

it('a hold that is no amount is refused, and those that wait with it are not', async () => {
  const attempt = await start('1');
  await charges.reserve(holdOf(attempt, '0.001'));
  const settled = await together({ sql, wide, charges }, attempt, () =>
    ['0.1', '-0.1', '0.2'].map((usd) => charges.reserve(holdOf(attempt, usd))),
  );
  expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(await countersOf(sql, attempt.tenantId)).toMatchObject({ reserved: '0.302' });
});

it('an attempt that ends while its reserve waits with others is refused, and they are not', async () => {
  const attempt = await start('1');
  const ending = await startAttempt(sql, attempt.tenantId);
  await charges.reserve(holdOf(attempt, '0.001'));
  let answers: Promise<PromiseSettledResult<unknown>[]> = Promise.resolve([]);
  await wide.begin(async (tx) => {
    await tx`delete from purser.in_flight where token = ${ending.token}`;
    answers = Promise.allSettled(
      [attempt, ending, attempt].map((one) => charges.reserve(holdOf(one, '0.1'))),
    );
    await untilWaiting(sql, 1);
  });
  expect(outcomes(await answers)).toEqual({ ok: 2, stale_token: 1 });
});

it('settlements that meet are charged once each: a repeat, other figures, and an unknown reservation too', async () => {
  const attempt = await start('10');
  const holds = await Promise.all(
    Array.from({ length: 20 }, () => charges.reserve(holdOf(attempt, '0.1'))),
  );
  const bills = holds.map(({ reservationId }) => settlementOf(reservationId, '0.05'));
  const [bill] = bills;
  if (bill === undefined) throw new Error('no bill');
  const settled = await together({ sql, wide, charges }, attempt, () =>
    [
      ...bills,
      bill,
      settlementOf(bill.reservationId, '0.06'),
      settlementOf(randomUUID(), '0.05'),
      // Twelve of thirteen decimals: refused as no amount.
      { ...bill, items: [{ class: 'input', count: -1, usd: '1', per: 1 }] as const },
    ].map((one) => charges.settle(attempt.tenantId, one)),
  );
  const counts = outcomes(settled);
  expect(counts).toMatchObject({ ok: 21, idempotency_conflict: 1, unknown_reservation: 1 });
  expect(await countersOf(sql, attempt.tenantId)).toMatchObject({
    spent: '1',
    reserved: '0.001',
  });
  // The one that waits, the batch, and each alone after the bill that is refused: all but one of them repeats.
  expect(await transactions(attempt.tenantId)).toBeLessThanOrEqual(25);
});

it('with scopes each goes alone, and no limit is passed', async () => {
  const attempt = await start('10');
  await charges.reserve(holdOf(attempt, '0.001'));
  const scope = {
    tenantId: attempt.tenantId,
    kind: 'model',
    subject: 'test-model',
    period: 'day',
  } as const;
  await setScope(sql, { ...scope, limitUsd: '0.5', timeZone: 'UTC', hard: true, by: 'test' });
  const settled = await together({ sql, wide, charges }, attempt, () =>
    Array.from({ length: 20 }, () => charges.reserve(holdOf(attempt, '0.1'))),
  );
  expect(outcomes(settled)).toEqual({ ok: 4, budget_exceeded: 16 });
  await removeScope(sql, scope);
});

it('workers, lone settlements, expiry and ends of attempts beside each other take no lock in another order', async () => {
  const attempts = await Promise.all(Array.from({ length: 12 }, () => start('1000')));
  const workers = [charges, gatherCharges(wide), gatherCharges(wide)];
  const seen: string[] = [];
  await Promise.all(
    Array.from({ length: 300 }, async (_, index) => {
      const attempt = attempts[index % 3] ?? attempts[0];
      const worker = workers[index % workers.length] ?? charges;
      if (attempt === undefined) return;
      const now = index % 2 === 0 ? new Date('2026-03-31T23:59:59Z') : new Date();
      const hold = await worker.reserve(holdOf(attempt, '0.01', { now, ttlMs: 50 }));
      const bill = settlementOf(hold.reservationId, '0.005');
      if (index % 5 === 0) await releaseExpiredReservations({ sql: wide, limit: 10 });
      if (index % 7 === 0) await recordUsage(wide, bill);
      else await worker.settle(attempt.tenantId, bill);
    }).map((one) => one.catch((error: unknown) => seen.push(codeOf(error)))),
  );
  expect(seen).toEqual([]);
});
