/** Each kind of scope refuses what does not fit, and names what bound. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { BudgetExceededError } from '../../../src/budget/budget-exceeded.ts';
import type { ReserveRequest } from '../../../src/budget/reserve.ts';
import { removeScope, setScope } from '../../../src/budget/scopes.ts';
import type { SetScopeRequest } from '../../../src/budget/scopes.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve, settlementOf } from '../../support/holds.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { addTenant, insertAttempt, startAttempt } from '../../support/tenants.ts';
import type { TestAttempt } from '../../support/tenants.ts';

let database: TestDatabase;
let sql: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
});
afterEach(() => assertBooksRight(sql));
afterAll(async () => {
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
