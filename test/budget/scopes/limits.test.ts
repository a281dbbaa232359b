/** Each kind of scope refuses what does not fit, names what bound, and is exact under concurrency. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { BudgetExceededError } from '../../../src/budget/budget-exceeded.ts';
import { parseUsd } from '../../../src/budget/money.ts';
import type { ReserveRequest } from '../../../src/budget/reserve.ts';
import { removeScope, scopeStatus, setScope } from '../../../src/budget/scopes.ts';
import type { SetScopeRequest } from '../../../src/budget/scopes.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve, settlementOf } from '../../support/holds.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { addTenant, insertAttempt, startAttempt } from '../../support/tenants.ts';
import type { TestAttempt } from '../../support/tenants.ts';

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

const kinds: readonly {
  readonly limits: Limits;
  readonly call: Partial<ReserveRequest>;
  readonly other?: Partial<ReserveRequest>;
  readonly value: (attempt: TestAttempt) => string;
}[] = [
  {
    limits: { kind: 'tenant', period: 'day', limitUsd: '1' },
    call: {},
    value: ({ tenantId }) => tenantId,
  },
  {
    limits: { kind: 'job_type', subject: 'test_attempt', period: 'day', limitUsd: '1' },
    call: {},
    value: () => 'test_attempt',
  },
  {
    limits: { kind: 'model', subject: 'big', period: 'month', limitUsd: '1' },
    call: { model: 'big' },
    other: { model: 'small' },
    value: () => 'big',
  },
  {
    limits: { kind: 'model', period: 'day', limitUsd: '1' },
    call: { model: 'big' },
    other: { model: 'small' },
    value: () => 'big',
  },
  {
    limits: { kind: 'provider_key', subject: 'platform', period: 'day', limitUsd: '1' },
    call: {},
    other: { providerKey: 'own' },
    value: () => 'platform',
  },
  {
    limits: { kind: 'end_user', period: 'day', limitUsd: '1' },
    call: { endUser: 'ada' },
    other: { endUser: 'bob' },
    value: () => 'ada',
  },
  {
    limits: { kind: 'job', period: 'job', limitUsd: '1' },
    call: {},
    value: ({ jobId }) => jobId,
  },
];

it.each(kinds)(
  '$limits.kind per $limits.period: admits up to its limit and names itself',
  async (kind) => {
    const tenantId = await addTenant(sql, { limitUsd: '100' });
    expect(await limit(tenantId, kind.limits)).toBe('added');
    const attempt = await startAttempt(sql, tenantId);
    await reserve(sql, attempt, '0.6', kind.call);
    await reserve(sql, attempt, '0.4', kind.call);
    const error = await refusal(reserve(sql, attempt, '0.000000001', kind.call));
    expect(error.details).toMatchObject({
      scope: kind.limits.kind,
      scope_value: kind.value(attempt),
      period: kind.limits.period,
      limit: '1',
      used: '0',
      reserved: '1',
      needed: '0.000000001',
    });
    expect(error.fatal).toBe(kind.limits.kind === 'job');
    if (kind.other !== undefined) await reserve(sql, attempt, '1', kind.other);
    await reserve(sql, await startAttempt(sql, await addTenant(sql)), '0.1', kind.call);
  },
);

it('a job is limited over all its attempts, each job by itself', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await limit(tenantId, { kind: 'job', subject: 'test_attempt', period: 'job', limitUsd: '1' });
  const first = await startAttempt(sql, tenantId);
  const { reservationId } = await reserve(sql, first, '0.7');
  await recordUsage(sql, settlementOf(reservationId, '0.7'));
  await sql`delete from purser.in_flight where job_id = ${first.jobId}::bigint`;
  const second = { ...first, attempt: 2 };
  await insertAttempt(sql, second);
  const error = await refusal(reserve(sql, second, '0.4'));
  expect(error.details).toMatchObject({
    scope: 'job',
    scope_value: first.jobId,
    used: '0.7',
    class: 'fatal',
  });
  expect(error.message).toContain('total limit of $1');
  await reserve(sql, await startAttempt(sql, tenantId), '1');
});

it('calls are counted until they are released', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await limit(tenantId, { kind: 'tenant', period: 'day', limitCalls: 2 });
  const attempt = await startAttempt(sql, tenantId);
  const first = await reserve(sql, attempt, '0.1');
  const second = await reserve(sql, attempt, '0.1');
  const error = await refusal(reserve(sql, attempt, '0.1'));
  expect(error.details).toMatchObject({
    scope: 'tenant',
    limit: null,
    limit_calls: 2,
    used_calls: 2,
  });
  expect(error.message).toContain('a daily limit of 2 calls with 2 made');
  await releaseReservation(sql, first);
  await markUnknown(sql, second);
  await reserve(sql, attempt, '0.1');
  await refusal(reserve(sql, attempt, '0.1'));
});

it('a subject of its own binds in place of the scope of each, which still counts it', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await limit(tenantId, { kind: 'end_user', period: 'day', limitUsd: '1' });
  await limit(tenantId, { kind: 'end_user', subject: 'ada', period: 'day', limitUsd: '5' });
  const attempt = await startAttempt(sql, tenantId);
  await reserve(sql, attempt, '4', { endUser: 'ada' });
  await refusal(reserve(sql, attempt, '2', { endUser: 'ada' }));
  await refusal(reserve(sql, attempt, '2', { endUser: 'bob' }));
  expect(
    await removeScope(sql, { tenantId, kind: 'end_user', subject: 'ada', period: 'day' }),
  ).toBe(true);
  const error = await refusal(reserve(sql, attempt, '0.1', { endUser: 'ada' }));
  expect(error.details).toMatchObject({ limit: '1', reserved: '4' });
});

it('a soft scope admits beyond its limit and says so', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await limit(tenantId, { kind: 'tenant', period: 'day', limitUsd: '1', hard: false });
  const attempt = await startAttempt(sql, tenantId);
  expect(await reserve(sql, attempt, '1')).toMatchObject({ overLimit: false });
  expect(await reserve(sql, attempt, '1')).toMatchObject({ overLimit: true });
});

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
