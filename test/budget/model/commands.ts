/**
 * What can happen to money, as commands of fast-check: each runs on the database and on the model, and compares their
 * answers, then all counters and reservations.
 */
import fc from 'fast-check';
import type { AsyncCommand } from 'fast-check';
import { expect } from 'vitest';
import { setBudget } from '../../../src/budget/budgets.ts';
import { releaseExpiredReservations } from '../../../src/budget/expire.ts';
import { formatUsd } from '../../../src/budget/money.ts';
import { markSent } from '../../../src/budget/reserve.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
import { PurserError } from '../../../src/errors.ts';
import { newToken } from '../../../src/jobs/attempts.ts';
import { reserve } from '../../support/holds.ts';
import type { ModelReservation, Pin } from './money-model.ts';
import {
  keyOf,
  nextAttempt,
  pictureOfDatabase,
  pictureOfModel,
  pinsOf,
  planLimits,
} from './world.ts';
import type { Real, World } from './world.ts';

export type Command = AsyncCommand<World, Real>;

const command = (
  text: string,
  run: (world: World, real: Real) => Promise<void>,
  check: (world: World) => boolean = () => true,
): Command => ({
  check: (world) => check(world),
  run: async (world, real) => {
    await run(world, real);
    await compare(world, real);
  },
  toString: () => text,
});

export async function compare(world: World, { sql }: Real): Promise<void> {
  const ids = world.tenants.map(({ id }) => id);
  const database = await pictureOfDatabase(sql, ids);
  expect(database).toEqual(pictureOfModel(world));
  for (const counters of Object.values(database.accounts)) expect(counters).not.toMatch(/ -/);
}

/** The value, or the code of the refusal with its details. */
async function answerOf<T>(call: Promise<T>): Promise<T | { code: string; details: object }> {
  try {
    return await call;
  } catch (error) {
    if (!(error instanceof PurserError)) throw error;
    return { code: error.code, details: error.details };
  }
}

const tenantIndex = fc.nat({ max: 1 });
const units = fc.nat({ max: 12 });
/** A number of units, or what is available and so many nano-USD more. */
const holds = fc.oneof(
  { weight: 3, arbitrary: units.map((count) => ({ units: count })) },
  { weight: 1, arbitrary: fc.constantFrom(-1n, 0n, 1n).map((beyond) => ({ beyond })) },
);
const someReservation = fc.nat({ max: 30 });
const anyReservation = ({ money }: World): boolean => money.reservations.size > 0;

function tenantAt({ tenants }: World, index: number) {
  const tenant = tenants[index % tenants.length];
  if (tenant === undefined) throw new Error('a world has tenants');
  return tenant;
}

/** One of the reservations so far, with its id in the database. */
function reservationAt({ money }: World, { ids }: Real, index: number) {
  const all = [...money.reservations.values()];
  const found = all[index % all.length];
  const reservationId = found === undefined ? undefined : ids.get(found.key);
  if (found === undefined || reservationId === undefined) throw new Error('no such reservation');
  return { ...found, reservationId };
}

/** No two holds expire at the same moment, so that a limited sweep has one order. */
function expiryOf({ money, now }: World, ttlMs: number): number {
  const taken = new Set([...money.reservations.values()].map(({ expiresAt }) => expiresAt));
  let expiresAt = now + ttlMs;
  while (taken.has(expiresAt)) expiresAt += 1;
  return expiresAt;
}

type Hold = { readonly units: number } | { readonly beyond: bigint };

const holdText = (hold: Hold): string =>
  'units' in hold ? String(hold.units) : `the rest and ${hold.beyond} nano-USD`;

/** The amount that the fullest account in USD still admits, and `beyond` more; never negative. */
function atTheLimit({ money }: World, pins: readonly Pin[], beyond: bigint): bigint {
  const available = pins.filter(({ unit }) => unit === 'usd').map((pin) => money.available(pin));
  const least = available.reduce((one, other) => (other < one ? other : one));
  return least + beyond < 0n ? 0n : least + beyond;
}

/** Few keys, so that many of these are replays and conflicts. */
const reserves = fc
  .record({
    tenant: tenantIndex,
    slot: fc.nat({ max: 15 }),
    held: holds,
    ttlMs: fc.constantFrom(1, 1000, 60_000, 86_400_000),
    model: fc.constantFrom('one', 'one', 'one', 'other'),
    stale: fc.nat({ max: 9 }).map((n) => n === 9),
  })
  .map(({ tenant: index, slot, held, ttlMs, model, stale }) =>
    command(
      `reserve(${index}, slot ${slot}, ${holdText(held)}, ttl ${ttlMs} ms, ${model}${stale ? ', stale' : ''})`,
      async (world, real) => {
        const { id, attempt } = tenantAt(world, index);
        const key = keyOf(id, `slot-${slot}`);
        const expiresAt = expiryOf(world, ttlMs);
        const pins = pinsOf(id, world.now);
        const hold =
          'units' in held ? BigInt(held.units) * world.scale : atTheLimit(world, pins, held.beyond);
        const limit = world.money.limits.get(id);
        const before = pins.map((pin) => world.money.countersOf(pin));
        const token = stale ? newToken(attempt.jobId) : attempt.token;
        const answer = await answerOf(
          reserve(real.sql, { ...attempt, token }, formatUsd(hold), {
            idempotencyKey: `slot-${slot}`,
            ttlMs: expiresAt - world.now,
            model,
            now: new Date(world.now),
          }),
        );
        if (stale) {
          expect(answer).toMatchObject({ code: 'stale_token' });
          return;
        }
        const over = world.money.exceeded(pins, hold).length > 0;
        const payload = `${hold} ${model} ${attempt.attempt}`;
        const expected = world.money.reserve({ key, payload, hold, pins, expiresAt });
        const [{ reserved, spent, unknown } = { reserved: 0n, spent: 0n, unknown: 0n }] = before;
        switch (expected.outcome) {
          case 'refused':
            expect(answer).toMatchObject({
              code: 'budget_exceeded',
              details: {
                scope: 'tenant',
                limit: formatUsd(limit?.amount ?? 0n),
                used: formatUsd(spent + unknown),
                reserved: formatUsd(reserved),
                needed: formatUsd(hold),
              },
            });
            return;
          case 'conflict':
            expect(answer).toMatchObject({ code: 'idempotency_conflict' });
            return;
          case 'replayed':
            expect(answer).toMatchObject({ replayed: true, reservationId: real.ids.get(key) });
            return;
          case 'reserved':
            expect(answer).toMatchObject({
              replayed: false,
              status: 'RESERVED',
              overLimit: over,
              expiresAt: new Date(expiresAt),
            });
            if ('reservationId' in answer) real.ids.set(key, answer.reservationId);
            if (limit?.hard === true) {
              for (const pin of pins) expect(world.money.available(pin)).toBeGreaterThanOrEqual(0n);
            }
        }
      },
    ),
  );

const sends = someReservation.map((index) =>
  command(
    `markSent(${index})`,
    async (world, real) => {
      const { key, reservationId } = reservationAt(world, real, index);
      const now = new Date(world.now);
      const marked = await markSent(real.sql, { reservationId, now });
      expect(marked).toBe(world.money.markSent(key, world.now));
    },
    anyReservation,
  ),
);

/** Mostly within the hold; `tokens` tells bills of one cost apart. */
const settles = fc
  .record({ index: someReservation, units, tokens: fc.constantFrom(7, 7, 7, 8) })
  .map(({ index, units: cost, tokens }) =>
    command(
      `settle(${index}, ${cost}, ${tokens} tokens)`,
      async (world, real) => {
        const found = reservationAt(world, real, index);
        await settle(world, real, found, { cost: BigInt(cost) * world.scale, tokens });
      },
      anyReservation,
    ),
  );

async function settle(
  { money, now }: World,
  { sql }: Real,
  { key, reservationId, hold }: ModelReservation & { readonly reservationId: string },
  { cost, tokens }: { readonly cost: bigint; readonly tokens: number },
): Promise<void> {
  const items = [
    { class: 'input', count: tokens, usd: '0', per: 1_000_000 },
    { class: 'request', count: 1, usd: formatUsd(cost), per: 1 },
  ] as const;
  const answer = await answerOf(recordUsage(sql, { reservationId, items, now: new Date(now) }));
  const expected = money.settle(key, { cost, bill: `${cost} ${tokens}` });
  if (expected === 'conflict') {
    expect(answer).toMatchObject({ code: 'idempotency_conflict' });
    return;
  }
  expect(answer).toEqual({
    applied: expected === 'settled',
    holdNanoUsd: hold,
    overageNanoUsd: cost > hold ? cost - hold : 0n,
  });
}

const closes = fc
  .record({ index: someReservation, to: fc.constantFrom('RELEASED', 'UNKNOWN') })
  .map(({ index, to }) =>
    command(
      `close(${index}, ${to})`,
      async (world, real) => {
        const { key, reservationId } = reservationAt(world, real, index);
        const end = to === 'RELEASED' ? releaseReservation : markUnknown;
        const closed = await end(real.sql, { reservationId, now: new Date(world.now) });
        expect(closed).toBe(world.money.close(key, to));
      },
      anyReservation,
    ),
  );

export async function expire(world: World, { sql }: Real, limit: number): Promise<void> {
  const ended = await releaseExpiredReservations({ sql, limit, now: new Date(world.now) });
  expect(ended).toEqual(world.money.expire(world.now, limit));
}

const expiries = fc
  .constantFrom(1, 2, 100)
  .map((limit) => command(`expire(${limit})`, (world, real) => expire(world, real, limit)));

const limits = fc
  .record({ tenant: tenantIndex, limit: fc.nat({ max: 40 }), hard: fc.boolean() })
  .map(({ tenant: index, limit, hard }) =>
    command(`setLimit(${index}, ${limit}, ${hard ? 'hard' : 'soft'})`, async (world, { sql }) => {
      const tenant = tenantAt(world, index);
      const amount = BigInt(limit) * world.scale;
      const monthlyLimitUsd = formatUsd(amount);
      await setBudget(sql, { tenantId: tenant.id, monthlyLimitUsd, hard });
      tenant.limitSource = 'operator';
      world.money.setLimit(tenant.id, { amount, hard });
    }),
  );

const plans = fc
  .record({ tenant: tenantIndex, plan: fc.constantFrom('free', 'starter') })
  .map(({ tenant: index, plan }) =>
    command(`setPlan(${index}, ${plan})`, async (world, { sql }) => {
      const tenant = tenantAt(world, index);
      await sql`update tenants set plan = ${plan} where id = ${tenant.id}`;
      tenant.plan = plan;
      if (tenant.limitSource === 'operator') return;
      world.money.setLimit(tenant.id, { amount: planLimits[plan], hard: true });
    }),
  );

const attempts = tenantIndex.map((index) =>
  command(`nextAttempt(${index})`, (world, { sql }) => nextAttempt(sql, tenantAt(world, index))),
);

const month = 31 * 86_400_000;
/** Also backwards: the clocks of two servers differ. */
const clocks = fc.constantFrom(1, 999, 1001, 60_000, 86_400_000, month, -1, -3_600_000).map((ms) =>
  command(`clock(${ms} ms)`, async (world) => {
    world.now += ms;
    await Promise.resolve();
  }),
);
const monthEnds = fc.constantFrom(-1, 0).map((ms) =>
  command(`monthEnd(${ms} ms)`, async (world) => {
    const at = new Date(world.now);
    world.now = Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 1) + ms;
    await Promise.resolve();
  }),
);

/** Reserves, sends and settlements three times as often as the others. */
export const commands: fc.Arbitrary<Command>[] = [
  ...[reserves, reserves, sends, settles].flatMap((one) => [one, one, one]),
  ...[closes, expiries, limits, plans, attempts, clocks, monthEnds],
];
