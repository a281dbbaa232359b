/** What can happen to money, as commands. */
import { boolean, constantFrom, nat, record } from 'fast-check';
import type { Arbitrary } from 'fast-check';
import { setBudget } from '../../../src/budget/budgets.ts';
import { releaseExpiredReservations } from '../../../src/budget/expire.ts';
import { formatUsd } from '../../../src/budget/money.ts';
import { markSent } from '../../../src/budget/reserve.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
import {
  anyReservation,
  answerOf,
  command,
  reservationAt,
  someReservation,
  tenantAt,
  tenantIndex,
  units,
} from './command.ts';
import type { Answers, Command } from './command.ts';
import type { ModelReservation } from './money-model.ts';
import { reserves } from './reserves.ts';
import { scopeCommands } from './scopes.ts';
import { nextAttempt, planLimits } from './world.ts';
import type { Real, World } from './world.ts';

const sends = someReservation.map((index) =>
  command(
    `markSent(${index})`,
    async (world, real) => {
      const { key, reservationId } = reservationAt(world, real, index);
      const now = new Date(world.now);
      const answer = await markSent(real.sql, { reservationId, now });
      return { answer, expected: world.money.markSent(key, world.now) };
    },
    anyReservation,
  ),
);

/** Mostly within the hold; `tokens` tells bills of one cost apart. */
const settles = record({ index: someReservation, units, tokens: constantFrom(7, 7, 7, 8) }).map(
  ({ index, units: cost, tokens }) =>
    command(
      `settle(${index}, ${cost}, ${tokens} tokens)`,
      async (world, real) => {
        const found = reservationAt(world, real, index);
        return settle(world, real, found, { cost: BigInt(cost) * world.scale, tokens });
      },
      anyReservation,
    ),
);

async function settle(
  { money, now }: World,
  { sql }: Real,
  { key, reservationId, hold }: ModelReservation & { readonly reservationId: string },
  { cost, tokens }: { readonly cost: bigint; readonly tokens: number },
): Promise<Answers> {
  const items = [
    { class: 'input', count: tokens, usd: '0', per: 1_000_000 },
    { class: 'request', count: 1, usd: formatUsd(cost), per: 1 },
  ] as const;
  const answer = await answerOf(recordUsage(sql, { reservationId, items, now: new Date(now) }));
  const outcome = money.settle(key, { cost, bill: `${cost} ${tokens}` });
  if (outcome === 'conflict') return { answer, expected: { code: 'idempotency_conflict' } };
  const overageNanoUsd = cost > hold ? cost - hold : 0n;
  const expected = { applied: outcome === 'settled', holdNanoUsd: hold, overageNanoUsd };
  return { answer, expected };
}

const closes = record({ index: someReservation, to: constantFrom('RELEASED', 'UNKNOWN') }).map(
  ({ index, to }) =>
    command(
      `close(${index}, ${to})`,
      async (world, real) => {
        const { key, reservationId } = reservationAt(world, real, index);
        const end = to === 'RELEASED' ? releaseReservation : markUnknown;
        const answer = await end(real.sql, { reservationId, now: new Date(world.now) });
        return { answer, expected: world.money.close(key, to) };
      },
      anyReservation,
    ),
);

export async function expire(world: World, { sql }: Real, limit: number): Promise<Answers> {
  const answer = await releaseExpiredReservations({ sql, limit, now: new Date(world.now) });
  return { answer, expected: world.money.expire(world.now, limit) };
}

const expiries = constantFrom(1, 2, 100).map((limit) =>
  command(`expire(${limit})`, (world, real) => expire(world, real, limit)),
);

/** A command that has no answer. */
const act = (text: string, run: (world: World, real: Real) => Promise<void> | void): Command =>
  command(text, async (world, real) => {
    await run(world, real);
    return undefined;
  });

const limits = record({ tenant: tenantIndex, limit: nat({ max: 40 }), hard: boolean() }).map(
  ({ tenant: index, limit, hard }) =>
    act(`setLimit(${index}, ${limit}, ${hard ? 'hard' : 'soft'})`, async (world, { sql }) => {
      const tenant = tenantAt(world, index);
      const amount = BigInt(limit) * world.scale;
      const monthlyLimitUsd = formatUsd(amount);
      await setBudget(sql, { tenantId: tenant.id, monthlyLimitUsd, hard });
      tenant.limitSource = 'operator';
      world.money.setLimit(tenant.id, { amount, hard });
    }),
);

const plans = record({ tenant: tenantIndex, plan: constantFrom('free', 'starter') }).map(
  ({ tenant: index, plan }) =>
    act(`setPlan(${index}, ${plan})`, async (world, { sql }) => {
      const tenant = tenantAt(world, index);
      await sql`update tenants set plan = ${plan} where id = ${tenant.id}`;
      tenant.plan = plan;
      if (tenant.limitSource === 'operator') return;
      world.money.setLimit(tenant.id, { amount: planLimits[plan], hard: true });
    }),
);

const ownKeys = record({
  tenant: tenantIndex,
  to: constantFrom('apart', 'apart', 'counts', 'none'),
}).map(({ tenant: index, to }) =>
  act(`setOwnKey(${index}, ${to})`, async (world, { sql }) => {
    const tenant = tenantAt(world, index);
    await sql`delete from llm_provider_keys where tenant_id = ${tenant.id}`;
    if (to !== 'none') {
      await sql`
          insert into llm_provider_keys
            (tenant_id, provider, api_key, encryption_key_version, last_four, counts_against_budget, set_by)
          values (${tenant.id}, 'openai', 'token', 1, 'abcd', ${to === 'counts'}, 'test')`;
    }
    tenant.ownKey = to;
  }),
);

const attempts = tenantIndex.map((index) =>
  act(`nextAttempt(${index})`, (world, { sql }) => nextAttempt(sql, tenantAt(world, index))),
);

const month = 31 * 86_400_000;
/** Also backwards: the clocks of two servers differ. */
const clocks = constantFrom(1, 999, 1001, 60_000, 86_400_000, month, -1, -3_600_000).map((ms) =>
  act(`clock(${ms} ms)`, (world) => {
    world.now += ms;
  }),
);
const monthEnds = constantFrom(-1, 0).map((ms) =>
  act(`monthEnd(${ms} ms)`, (world) => {
    const at = new Date(world.now);
    world.now = Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 1) + ms;
  }),
);

/** Reserves, sends and settlements more often than the others. */
export const monthCommands: Arbitrary<Command>[] = [
  [reserves, reserves, sends, settles, reserves, reserves, sends, settles, reserves, reserves],
  [sends, settles, closes, expiries, limits, plans, attempts, clocks, monthEnds],
].flat();
export const commands: Arbitrary<Command>[] = [
  ...monthCommands,
  ...[scopeCommands, scopeCommands, ownKeys, ownKeys].flat(),
];
