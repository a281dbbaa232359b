/** Calls that are charged together meet the same limits as each alone: fair use, soft limits, stops, alerts. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { gatherCharges } from '../../../src/budget/charges.ts';
import type { Charges } from '../../../src/budget/charges.ts';
import { removeScope, setScope } from '../../../src/budget/scopes.ts';
import { releaseReservation } from '../../../src/budget/settle.ts';
import { liftStop, setStop } from '../../../src/budget/stops.ts';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { countersOf, holdOf, settlementOf, untilWaiting } from '../../support/holds.ts';
import { outcomes, together } from './worker.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
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

it('a tenant whose month is locked holds up no other tenant', async () => {
  const [slow, other] = [await start('1'), await start('1')];
  await charges.reserve(holdOf(slow, '0.001'));
  let waiting: Promise<unknown> = Promise.resolve();
  await wide.begin(async (tx) => {
    await tx`select from llm_budget_periods where tenant_id = ${slow.tenantId} for update`;
    waiting = charges.reserve(holdOf(slow, '0.1'));
    await untilWaiting(sql, 1);
    await charges.reserve(holdOf(other, '0.1'));
  });
  await waiting;
  expect(await countersOf(sql, other.tenantId)).toMatchObject({ reserved: '0.1' });
});

it('calls that are certain to be refused wait for no lock, together as each alone', async () => {
  const attempt = await start('0.1');
  await charges.reserve(holdOf(attempt, '0.1'));
  let refused: readonly PromiseSettledResult<unknown>[] = [];
  await wide.begin(async (tx) => {
    await tx`select from llm_budget_periods where tenant_id = ${attempt.tenantId} for update`;
    const asked = Promise.allSettled(
      Array.from({ length: 3 }, () => charges.reserve(holdOf(attempt, '0.000000001'))),
    );
    const first = await Promise.race([asked, untilWaiting(sql, 1, asked)]);
    expect(first).toBeDefined();
    refused = await asked;
  });
  expect(outcomes(refused)).toEqual({ budget_exceeded: 3 });
});

it('settlements of calls that scopes count are counted there, and alerts are raised', async () => {
  const attempt = await start('1');
  await charges.reserve(holdOf(attempt, '0.001'));
  const holds = await Promise.all(
    Array.from({ length: 3 }, () => charges.reserve(holdOf(attempt, '0.2'))),
  );
  const settle = (index: number) =>
    charges.settle(
      attempt.tenantId,
      settlementOf(holds[index]?.reservationId ?? randomUUID(), '0.2'),
    );
  const scope = { tenantId: attempt.tenantId, kind: 'model', subject: 'test-model' } as const;
  const target = { ...scope, period: 'day' } as const;
  await setScope(sql, { ...target, limitUsd: '5', timeZone: 'UTC', hard: true, by: 'test' });
  await Promise.all([0, 1, 2].map(settle));
  const counted = await sql<{ spent: string }[]>`
    select trim_scale(p.spent_usd)::text as spent from llm_scope_periods p
    join llm_scopes s on s.id = p.scope_id where s.tenant_id = ${attempt.tenantId}`;
  expect(counted.map(({ spent }) => spent)).toEqual(['0.6']);
  await removeScope(sql, target);
  const more = await Promise.all(
    Array.from({ length: 2 }, () => charges.reserve(holdOf(attempt, '0.1'))),
  );
  await Promise.all(
    more.map(({ reservationId }) =>
      charges.settle(attempt.tenantId, settlementOf(reservationId, '0.1')),
    ),
  );
  const alerts = await sql<{ percent: number }[]>`
    select percent from llm_alerts where tenant_id = ${attempt.tenantId} and scope_period_id is null order by 1`;
  expect(alerts.map(({ percent }) => percent)).toEqual([50, 80]);
});

it('calls with an own key that count apart stay apart, and a request with fallbacks keeps them', async () => {
  const attempt = await start('1');
  await charges.reserve(holdOf(attempt, '0.001'));
  await sql`
    insert into llm_provider_keys (tenant_id, provider, api_key, encryption_key_version, last_four, set_by)
    values (${attempt.tenantId}, 'openai', 'sealed', 1, 'four', 'test')`;
  const own = await Promise.all(
    Array.from({ length: 3 }, () =>
      charges.reserve(holdOf(attempt, '2', { providerKey: 'own:openai' })),
    ),
  );
  expect(await countersOf(sql, attempt.tenantId)).toMatchObject({ reserved: '0.001' });
  await Promise.all(
    own.map(({ reservationId }) =>
      charges.settle(attempt.tenantId, settlementOf(reservationId, '1')),
    ),
  );
  expect(await countersOf(sql, attempt.tenantId)).toMatchObject({ spent: '0' });
  const request = holdOf(attempt, '0.01');
  const withFallbacks = { ...request, fallbacks: [{ ...request, holdNanoUsd: 1_000_000n }] };
  const [first] = await Promise.all([
    charges.reserve(withFallbacks),
    charges.reserve(holdOf(attempt, '0.01')),
  ]);
  expect(await charges.reserve(withFallbacks)).toMatchObject({
    replayed: true,
    reservationId: first.reservationId,
  });
});

it('more calls at once than fair use allows are told so, and the others go', async () => {
  const attempt = await start('10');
  await charges.reserve(holdOf(attempt, '0.001'));
  await sql`update tenants set max_calls_in_flight = 5 where id = ${attempt.tenantId}`;
  const inFlight = await together({ sql, wide, charges }, attempt, () =>
    Array.from({ length: 6 }, () => charges.reserve(holdOf(attempt, '0.01'))),
  );
  // One by itself, and the one that `together` sends.
  expect(outcomes(inFlight)).toEqual({ ok: 3, llm_fair_use: 3 });
  await sql`
    update tenants set max_calls_in_flight = 100, max_calls_per_minute = 7 where id = ${attempt.tenantId}`;
  const perMinute = await together({ sql, wide, charges }, attempt, () =>
    Array.from({ length: 4 }, () => charges.reserve(holdOf(attempt, '0.01'))),
  );
  expect(outcomes(perMinute)).toEqual({ ok: 1, llm_fair_use: 3 });
});

it('a soft limit admits and flags, a stop refuses, and a settlement beyond its hold is told', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '0.05', hard: false });
  const attempt = await startAttempt(sql, tenantId);
  await charges.reserve(holdOf(attempt, '0.001'));
  const settled = await together({ sql, wide, charges }, attempt, () =>
    Array.from({ length: 3 }, () => charges.reserve(holdOf(attempt, '0.02'))),
  );
  const holds = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  expect(holds.map(({ overLimit }) => overLimit)).toEqual([false, false, true]);
  const bills = holds.map(({ reservationId }, index) =>
    settlementOf(reservationId, index === 0 ? '0.03' : '0.01'),
  );
  const charged = await together({ sql, wide, charges }, attempt, () =>
    bills.map((bill) => charges.settle(tenantId, bill)),
  );
  expect(charged).toMatchObject([
    { value: { applied: true, overageNanoUsd: 10_000_000n } },
    { value: { applied: true, overageNanoUsd: 0n } },
    { value: { applied: true, overageNanoUsd: 0n } },
  ]);
  const alerts = await sql<{ kind: string }[]>`
    select kind || coalesce(' ' || percent, '') as kind from llm_alerts where tenant_id = ${tenantId} order by 1`;
  expect(alerts.map(({ kind }) => kind)).toEqual([
    'overage',
    'threshold 100',
    'threshold 50',
    'threshold 80',
  ]);
  await setStop(sql, { tenantId, reason: 'test', by: 'test', aborts: false });
  const stopped = await Promise.allSettled(
    Array.from({ length: 3 }, () => charges.reserve(holdOf(attempt, '0.001'))),
  );
  expect(outcomes(stopped)).toEqual({ llm_stopped: 3 });
  await liftStop(sql, { tenantId });
});

it('requests that are marked as sent together are marked once each, and an ended hold is not', async () => {
  const attempt = await start('1');
  await charges.reserve(holdOf(attempt, '0.001'));
  const holds = await Promise.all(
    Array.from({ length: 4 }, () => charges.reserve(holdOf(attempt, '0.01'))),
  );
  const ids = holds.map(({ reservationId }) => reservationId);
  const [first = '', second = ''] = ids;
  await releaseReservation(sql, { reservationId: second });
  const mark = (id: string) => charges.markSent(attempt.tenantId, id);
  const marked = await Promise.all([...ids, first, randomUUID()].map(mark));
  expect(marked).toEqual([true, false, true, true, false, false]);
  const sent = await sql<{ id: string; transaction: string }[]>`
    select id, xmin::text as transaction from llm_reservations
    where tenant_id = ${attempt.tenantId} and sent_at is not null`;
  expect(new Set(sent.map(({ id }) => id))).toEqual(new Set(ids.filter((id) => id !== second)));
  expect(new Set(sent.map(({ transaction }) => transaction)).size).toBe(1);
  await setStop(sql, { tenantId: attempt.tenantId, reason: 'test', by: 'test', aborts: false });
  const fresh = await start('1');
  await charges.reserve(holdOf(fresh, '0.001'));
  expect(await Promise.allSettled([mark(first), mark(second)])).toMatchObject([
    { status: 'rejected', reason: { code: 'llm_stopped' } },
    { status: 'rejected', reason: { code: 'llm_stopped' } },
  ]);
  await liftStop(sql, { tenantId: attempt.tenantId });
});
