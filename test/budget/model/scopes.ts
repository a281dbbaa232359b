/** Scopes of the world's tenants: which a call counts in, and the command that adds one or changes its limit. */
import { boolean, constantFrom, nat, record } from 'fast-check';
import { formatUsd } from '../../../src/budget/money.ts';
import { setScope } from '../../../src/budget/scopes.ts';
import type { ScopeTarget } from '../../../src/budget/scopes.ts';
import { command, tenantAt, tenantIndex } from './command.ts';
import type { Pin } from './money-model.ts';
import { ownKey, unlimited } from './world.ts';
import type { World, WorldCall, WorldScope } from './world.ts';

type CalledWith = Omit<WorldCall, 'at'>;

type Definition = Pick<ScopeTarget, 'kind' | 'subject' | 'period'> & {
  readonly timeZone: string;
  readonly counts: 'usd' | 'calls';
  /** What it counts of a call; undefined: nothing. */
  readonly valueOf: (call: CalledWith) => string | undefined;
  readonly startOf: (now: number) => number;
};

const day = 86_400_000;
/** India has no clock changes. */
const offset = 5.5 * 3_600_000;
const startOfMonth = (now: number): number => {
  const at = new Date(now);
  return Date.UTC(at.getUTCFullYear(), at.getUTCMonth(), 1);
};

const definitions: readonly Definition[] = [
  {
    kind: 'tenant',
    period: 'day',
    timeZone: 'Asia/Kolkata',
    counts: 'usd',
    valueOf: ({ tenantId, countsApart }) => (countsApart ? undefined : tenantId),
    startOf: (now) => Math.floor((now + offset) / day) * day - offset,
  },
  {
    kind: 'model',
    subject: 'one',
    period: 'month',
    timeZone: 'UTC',
    counts: 'calls',
    valueOf: ({ model, countsApart }) => (model === 'one' && !countsApart ? model : undefined),
    startOf: startOfMonth,
  },
  {
    kind: 'model',
    period: 'day',
    timeZone: 'UTC',
    counts: 'usd',
    valueOf: ({ model, countsApart }) => (countsApart ? undefined : model),
    startOf: (now) => Math.floor(now / day) * day,
  },
  {
    kind: 'provider_key',
    period: 'day',
    timeZone: 'UTC',
    counts: 'usd',
    valueOf: ({ key }) => key,
    startOf: (now) => Math.floor(now / day) * day,
  },
];

const models = ['one', 'other'];
const keys = ['platform', ownKey];

/** Name of an account of the model: of the dollars of a scope, or of its calls. */
const nameOf = (tenantId: string, index: number, value: string): string =>
  `${tenantId} scope ${index} ${value}`;

/** The accounts of this call in the tenant's scopes, dollars and calls of each. */
export function scopePins({ scopes }: World, call: WorldCall): readonly Pin[] {
  return scopes
    .filter(({ tenantId }) => tenantId === call.tenantId)
    .flatMap(({ index }) => pinsIn(index, call));
}

function pinsIn(index: number, call: WorldCall): readonly Pin[] {
  const { tenantId, at } = call;
  const definition = definitions[index];
  const value = definition?.valueOf(call);
  if (definition === undefined || value === undefined) return [];
  const scope = nameOf(tenantId, index, value);
  const period = new Date(definition.startOf(at)).toISOString();
  return [
    { scope, period, unit: 'usd' },
    { scope: `${scope} calls`, period, unit: 'calls' },
  ];
}

/** The scope of an account, for what a refusal says. */
export function scopeOf(world: World, pin: Pin): WorldScope | undefined {
  return world.scopes.find(({ tenantId, index }) =>
    pin.scope.startsWith(`${tenantId} scope ${index} `),
  );
}

export const kindOf = ({ index }: WorldScope): string => definitions[index]?.kind ?? '';

/** Adds a scope with what was called in its running period, or changes its limit. */
export const scopeCommands = record({
  tenant: tenantIndex,
  index: nat({ max: definitions.length - 1 }),
  limit: constantFrom(0, 1, 2, 3, 5, 8, 13, 20, 30),
  hard: boolean(),
}).map(({ tenant, index, limit, hard }) =>
  command(
    `setScope(${tenant}, ${index}, ${limit}, ${hard ? 'hard' : 'soft'})`,
    async (world, { sql }) => {
      const definition = definitions[index];
      if (definition === undefined) throw new Error('no such scope');
      const { id: tenantId } = tenantAt(world, tenant);
      const { money, scale, now } = world;
      const { kind, subject, period, timeZone, counts } = definition;
      const amount = counts === 'usd' ? BigInt(limit) * scale : BigInt(limit);
      const known = world.scopes.some((one) => one.tenantId === tenantId && one.index === index);
      const answer = await setScope(sql, {
        tenantId,
        kind,
        subject,
        period,
        timeZone,
        limitUsd: counts === 'usd' ? formatUsd(amount) : undefined,
        limitCalls: counts === 'calls' ? limit : undefined,
        hard,
        by: 'test',
        now: new Date(now),
      });
      const values = keys.flatMap((key) =>
        models.flatMap(
          (model) => definition.valueOf({ tenantId, model, key, countsApart: false }) ?? [],
        ),
      );
      for (const value of new Set(values)) {
        const scope = nameOf(tenantId, index, value);
        money.setLimit(scope, counts === 'usd' ? { amount, hard } : unlimited);
        money.setLimit(`${scope} calls`, counts === 'calls' ? { amount, hard } : unlimited);
      }
      if (!known) {
        world.scopes.push({ tenantId, index });
        for (const [key, call] of world.calls) {
          const isNow = definition.startOf(call.at) === definition.startOf(now);
          if (call.tenantId === tenantId && isNow) money.attach(key, pinsIn(index, call));
        }
        return { answer, expected: 'added' };
      }
      return { answer: answer === 'added', expected: false };
    },
  ),
);
