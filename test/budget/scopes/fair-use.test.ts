/** Limits of calls per minute and in flight, and the stops of an operator. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { releaseExpiredReservations } from '../../../src/budget/expire.ts';
import { markSent } from '../../../src/budget/reserve.ts';
import { recordUsage } from '../../../src/budget/settle.ts';
import { liftStop, listStops, setStop } from '../../../src/budget/stops.ts';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { wakeParkedJobs } from '../../../src/jobs/sweep.ts';
import { endOfThrow } from '../../../src/worker/classify.ts';
import { addJobType, finish, jobRow, runningJob } from '../../jobs/job-steps.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve, settlementOf } from '../../support/holds.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';

let database: TestDatabase;
let sql: Sql;
let wide: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
  await addJobType(sql);
  wide = connect(database.url, { max: 20, applicationName: 'purser test fleet' });
});
afterEach(async () => {
  await sql`delete from llm_stops`;
  await assertBooksRight(sql);
});
afterAll(async () => {
  await wide.end({ timeout: 5 });
  await database.close();
});

const limited = (tenantId: string, perMinute = 1_000_000, inFlight = 1_000_000) => sql`
  update tenants set max_calls_per_minute = ${perMinute}, max_calls_in_flight = ${inFlight}
  where id = ${tenantId}`;

const at = (second: number) => ({ now: new Date(Date.UTC(2026, 5, 30, 23, 59, second)) });

it('of 50 calls at once, exactly as many are in flight as a tenant may have; the others are told 429', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await limited(tenantId, undefined, 7);
  const attempt = await startAttempt(sql, tenantId);
  const ended = await Promise.allSettled(
    Array.from({ length: 50 }, () => reserve(wide, attempt, '0.1')),
  );
  const held = ended.filter((one) => one.status === 'fulfilled');
  expect(held).toHaveLength(7);
  const refused: unknown[] = ended.flatMap((one) =>
    one.status === 'rejected' ? [one.reason] : [],
  );
  expect(refused).toEqual(
    refused.map(() =>
      expect.objectContaining({
        code: 'llm_fair_use',
        status: 429,
        details: expect.objectContaining({
          class: 'snooze',
          kind: 'calls_in_flight',
          limit: 7,
          used: 7,
        }),
      }),
    ),
  );
  const [first] = held;
  if (first !== undefined) {
    await recordUsage(sql, settlementOf(first.value.reservationId, '0.1'));
  }
  await reserve(sql, attempt, '0.1');
  await expect(reserve(sql, attempt, '0.1')).rejects.toMatchObject({ status: 429 });
});

it('a call in flight of a dead worker ends with its hold', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await limited(tenantId, undefined, 1);
  const attempt = await startAttempt(sql, tenantId);
  await reserve(sql, attempt, '0.1', { ttlMs: -1 });
  await expect(reserve(sql, attempt, '0.1')).rejects.toMatchObject({ status: 429 });
  await releaseExpiredReservations({ sql, limit: 500 });
  await reserve(sql, attempt, '0.1');
});

it('a call that began in the month before is still in flight', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await limited(tenantId, undefined, 1);
  const attempt = await startAttempt(sql, tenantId);
  const { reservationId } = await reserve(sql, attempt, '0.1', at(0));
  await expect(reserve(sql, attempt, '0.1', at(90))).rejects.toMatchObject({ status: 429 });
  await recordUsage(sql, settlementOf(reservationId, '0.1'));
  await reserve(sql, attempt, '0.1', at(90));
});

it('no minute has more calls than its limit, at the turn of a month too', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await limited(tenantId, 10);
  const attempt = await startAttempt(sql, tenantId);
  const admitted: number[] = [];
  for (let second = 0; second < 240; second += 3) {
    for (let n = 0; n < 2; n += 1) {
      const made = await reserve(sql, attempt, '0', at(second)).then(
        () => true,
        (error: unknown) => {
          expect(error).toMatchObject({
            code: 'llm_fair_use',
            details: { kind: 'calls_per_minute' },
          });
          return false;
        },
      );
      if (made) admitted.push(second);
    }
  }
  for (const start of admitted) {
    const inMinute = admitted.filter((second) => second >= start && second < start + 60);
    expect(inMinute.length).toBeLessThanOrEqual(10);
  }
  // A slot of 6 seconds more than the minute is counted.
  expect(admitted.length).toBeGreaterThanOrEqual(36);
});

it('a refused call is told when one is admitted', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await limited(tenantId, 1);
  const attempt = await startAttempt(sql, tenantId);
  await reserve(sql, attempt, '0', at(0));
  await expect(reserve(sql, attempt, '0', at(36))).rejects.toMatchObject({
    details: { retryAfterMs: 30_000 },
  });
  await expect(reserve(sql, attempt, '0', at(65))).rejects.toMatchObject({ status: 429 });
  await reserve(sql, attempt, '0', at(66));
});

it('a tenant has the limits of its plan', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100', fairUse: true, plan: 'free' });
  const attempt = await startAttempt(sql, tenantId);
  for (let n = 0; n < 5; n += 1) await reserve(sql, attempt, '0.1');
  await expect(reserve(sql, attempt, '0.1')).rejects.toMatchObject({ details: { limit: 5 } });
});

const stopped = { aborts: false, reason: 'runaway', by: 'grace' };

const stops: readonly {
  readonly what: string;
  readonly ofTenant: boolean;
  readonly provider?: string;
  readonly model?: string;
}[] = [
  { what: 'a tenant', ofTenant: true },
  { what: 'a provider', ofTenant: false, provider: 'test' },
  { what: 'a model', ofTenant: false, model: 'test-model' },
  { what: 'a model for a tenant', ofTenant: true, model: 'test-model' },
];

it.each(stops)(
  'a stop of $what refuses the reserve and the sending',
  async ({ ofTenant, provider, model }) => {
    const tenantId = await addTenant(sql, { limitUsd: '100' });
    const target = { tenantId: ofTenant ? tenantId : undefined, provider, model };
    const attempt = await startAttempt(sql, tenantId);
    const before = await reserve(sql, attempt, '0.1');
    await setStop(sql, { ...target, ...stopped });
    const refused = {
      code: 'llm_stopped',
      status: 503,
      details: { class: 'park', neededUsd: '0.1' },
    };
    await expect(reserve(sql, attempt, '0.1')).rejects.toMatchObject(refused);
    await expect(markSent(sql, before)).rejects.toMatchObject(refused);
    const other = await startAttempt(sql, await addTenant(sql, { limitUsd: '100' }));
    await reserve(sql, other, '0.1', { provider: 'other', model: 'other' });
    expect(await liftStop(sql, target)).toMatchObject(stopped);
    expect(await markSent(sql, before)).toBe(true);
    await reserve(sql, attempt, '0.1');
  },
);

it('a stop of one model leaves its fallback', async () => {
  const attempt = await startAttempt(sql, await addTenant(sql, { limitUsd: '100' }));
  await setStop(sql, { model: 'big', ...stopped });
  const fallback = {
    provider: 'test',
    model: 'small',
    price: { source: 'test', model: 'small', rates: {} },
    holdNanoUsd: 1n,
  };
  expect(await reserve(sql, attempt, '0.1', { model: 'big', fallbacks: [fallback] })).toMatchObject(
    { rung: 1 },
  );
});

it('a job that meets a stop parks without an attempt, and wakes when the stop is lifted', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '100' });
  await setStop(sql, { tenantId, ...stopped });
  const attempt = await runningJob(sql, tenantId);
  const thrown: unknown = await reserve(sql, { ...attempt, tenantId }, '0.1').catch(
    (error: unknown) => error,
  );
  const handler = { onBudget: 'park' } as const;
  await finish(sql, attempt, endOfThrow(thrown, { handler, now: new Date() } as never));
  expect(await jobRow(sql, attempt.jobId)).toMatchObject({ state: 'parked', attempt: 0 });
  expect(await wakeParkedJobs(sql)).toBe(0);
  await liftStop(sql, { tenantId });
  expect(await wakeParkedJobs(sql)).toBe(1);
});

it('a stop that names nothing, or an unknown tenant, is refused; another of the same replaces it', async () => {
  await expect(setStop(sql, stopped)).rejects.toThrow(/names a tenant/);
  expect(await setStop(sql, { tenantId: 'nobody', ...stopped })).toBeUndefined();
  await setStop(sql, { model: 'big', ...stopped });
  await setStop(sql, { model: 'big', ...stopped, aborts: true, reason: 'again' });
  expect(await listStops(sql)).toMatchObject([{ model: 'big', aborts: true, reason: 'again' }]);
  expect(await liftStop(sql, { model: 'bi' })).toBeUndefined();
});
