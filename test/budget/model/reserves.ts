/** Reserves as commands: new ones, replays, conflicts, refusals and those of an attempt that has ended. */
import { constantFrom, nat, oneof, record } from 'fast-check';
import { formatUsd } from '../../../src/budget/money.ts';
import { newToken } from '../../../src/jobs/attempts.ts';
import { reserve } from '../../support/holds.ts';
import { answerOf, command, tenantAt, tenantIndex, units } from './command.ts';
import type { OpenRequest, Pin } from './money-model.ts';
import { kindOf, scopeOf, scopePins } from './scopes.ts';
import { keyOf, monthPins, ownKey } from './world.ts';
import type { World } from './world.ts';

/** A number of units, or what is available and so many nano-USD more. */
const holds = oneof(
  { weight: 3, arbitrary: units.map((count) => ({ units: count })) },
  { weight: 1, arbitrary: constantFrom(-1n, 0n, 1n).map((beyond) => ({ beyond })) },
);

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
  // Where nothing limits it.
  if (least > 10n ** 17n) return 1n;
  return least + beyond < 0n ? 0n : least + beyond;
}

/** Few keys, so that many of these are replays and conflicts. */
export const reserves = record({
  tenant: tenantIndex,
  slot: nat({ max: 15 }),
  held: holds,
  ttlMs: constantFrom(1, 1000, 60_000, 86_400_000),
  model: constantFrom('one', 'one', 'one', 'other'),
  key: constantFrom('platform', 'platform', ownKey),
  stale: nat({ max: 9 }).map((n) => n === 9),
}).map(({ tenant: index, slot, held, ttlMs, model, key: providerKey, stale }) =>
  command(
    `reserve(${index}, slot ${slot}, ${holdText(held)}, ttl ${ttlMs} ms, ${model}, ${providerKey}${stale ? ', stale' : ''})`,
    async (world, real) => {
      const { id, attempt, ...tenant } = tenantAt(world, index);
      const expiresAt = expiryOf(world, ttlMs);
      const countsApart = providerKey === ownKey && tenant.ownKey === 'apart';
      const call = { tenantId: id, model, key: providerKey, countsApart, at: world.now };
      const pins = [...monthPins(call), ...scopePins(world, call)];
      const hold =
        'units' in held ? BigInt(held.units) * world.scale : atTheLimit(world, pins, held.beyond);
      const token = stale ? newToken(attempt.jobId) : attempt.token;
      const answer = await answerOf(
        reserve(real.sql, { ...attempt, token }, formatUsd(hold), {
          idempotencyKey: `slot-${slot}`,
          ttlMs: expiresAt - world.now,
          model,
          providerKey,
          now: new Date(world.now),
        }),
      );
      if (stale) return { answer, expected: { code: 'stale_token' } };
      const key = keyOf(id, `slot-${slot}`);
      const payload = `${hold} ${model} ${attempt.attempt} ${providerKey}`;
      const isNew = !world.money.reservations.has(key);
      if (isNew && providerKey === ownKey && tenant.ownKey === 'none') {
        return { answer, expected: { code: 'llm_own_key_removed' } };
      }
      const expected = expectedOf(world, { key, payload, hold, pins, expiresAt });
      if (isNew && world.money.reservations.has(key)) world.calls.set(key, call);
      const known = real.ids.get(key);
      if (known === undefined && 'reservationId' in answer) real.ids.set(key, answer.reservationId);
      const same = 'reservationId' in answer && known !== undefined ? { reservationId: known } : {};
      return { answer, expected: { ...expected, ...same } };
    },
  ),
);

/** Reserves in the model. Returns what the database should have answered. */
function expectedOf(world: World, request: OpenRequest): object {
  const { money } = world;
  const { hold, pins, expiresAt } = request;
  const refusing = money.refusing(pins, hold);
  const overLimit = money.exceeded(pins, hold).length > 0;
  const reserved = money.reserve(request);
  if (reserved.outcome === 'refused') {
    const { by } = reserved;
    // Where several refuse, the database names the one with the least room.
    if (refusing.length > 1)
      return { code: 'budget_exceeded', details: { needed: formatUsd(hold) } };
    const counters = money.countersOf(by);
    const scope = scopeOf(world, by);
    if (by.unit === 'calls') {
      const calls = counters.reserved + counters.spent + counters.unknown;
      const limit = Number(money.limits.get(by.scope)?.amount);
      const details = { scope: 'model', limit_calls: limit, used_calls: Number(calls) };
      return { code: 'budget_exceeded', details };
    }
    const details = {
      scope: scope === undefined ? 'tenant' : kindOf(scope),
      limit: formatUsd(money.limits.get(by.scope)?.amount ?? 0n),
      used: formatUsd(counters.spent + counters.unknown),
      reserved: formatUsd(counters.reserved),
      needed: formatUsd(hold),
    };
    return { code: 'budget_exceeded', details };
  }
  if (reserved.outcome === 'reserved') {
    return { replayed: false, status: 'RESERVED', overLimit, expiresAt: new Date(expiresAt) };
  }
  if (reserved.outcome === 'replayed') {
    return { replayed: true, status: money.reservations.get(request.key)?.status };
  }
  return { code: 'idempotency_conflict' };
}
