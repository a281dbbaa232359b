/** The rules of the model that the database has no scopes for yet, and those that every proof relies on. */
import { expect, it } from 'vitest';
import { createMoneyModel } from './money-model.ts';
import type { Pin } from './money-model.ts';

const month: Pin = { scope: 'tenant', period: '2026-07-01', unit: 'usd' };
const day: Pin = { scope: 'tenant/job-type', period: '2026-07-31', unit: 'calls' };

function modelWith(limits: {
  readonly usd: bigint;
  readonly calls: bigint;
  readonly hard?: boolean;
}) {
  const money = createMoneyModel();
  money.setLimit(month.scope, { amount: limits.usd, hard: true });
  money.setLimit(day.scope, { amount: limits.calls, hard: limits.hard ?? true });
  let number = 0;
  const reserve = (hold: bigint) => {
    number += 1;
    const key = `key-${number}`;
    return { key, ...money.reserve({ key, payload: '', hold, pins: [month, day], expiresAt: 10 }) };
  };
  return { money, reserve };
}

it('a hold is admitted by all of its accounts or moves none, and the refusal names the first that does not', () => {
  const { money, reserve } = modelWith({ usd: 10n, calls: 2n });
  expect(reserve(8n)).toMatchObject({ outcome: 'reserved' });
  expect(reserve(3n)).toMatchObject({ outcome: 'refused', by: month });
  expect(money.countersOf(day)).toEqual({ reserved: 1n, spent: 0n, unknown: 0n });
  expect(reserve(2n)).toMatchObject({ outcome: 'reserved' });
  expect(reserve(0n)).toMatchObject({ outcome: 'refused', by: day });
  expect(money.countersOf(month)).toEqual({ reserved: 10n, spent: 0n, unknown: 0n });
});

it('a soft limit admits what exceeds it, and the other accounts still refuse', () => {
  const { money, reserve } = modelWith({ usd: 10n, calls: 1n, hard: false });
  expect(reserve(1n)).toMatchObject({ outcome: 'reserved' });
  expect(money.exceeded([month, day], 1n)).toEqual([day]);
  expect(reserve(1n)).toMatchObject({ outcome: 'reserved' });
  expect(reserve(9n)).toMatchObject({ outcome: 'refused', by: month });
});

it('a settlement charges its cost and one call, whatever became of the hold before', () => {
  const { money, reserve } = modelWith({ usd: 100n, calls: 100n });
  const [held, released, unknown] = [reserve(5n).key, reserve(5n).key, reserve(5n).key];
  expect(money.close(released, 'RELEASED')).toBe(true);
  expect(money.close(unknown, 'UNKNOWN')).toBe(true);
  expect(money.countersOf(month)).toEqual({ reserved: 5n, spent: 0n, unknown: 5n });
  expect(money.countersOf(day)).toEqual({ reserved: 1n, spent: 0n, unknown: 1n });
  for (const key of [held, released, unknown]) {
    expect(money.settle(key, { cost: 7n, bill: 'seven' })).toBe('settled');
    expect(money.settle(key, { cost: 7n, bill: 'seven' })).toBe('replayed');
    expect(money.settle(key, { cost: 8n, bill: 'eight' })).toBe('conflict');
    expect(money.close(key, 'RELEASED')).toBe(false);
  }
  expect(money.countersOf(month)).toEqual({ reserved: 0n, spent: 21n, unknown: 0n });
  expect(money.countersOf(day)).toEqual({ reserved: 0n, spent: 3n, unknown: 0n });
});

it('what expires is released when it was never sent, and unknown when it was', () => {
  const { money, reserve } = modelWith({ usd: 100n, calls: 100n });
  const [sent] = [reserve(5n).key, reserve(6n).key];
  expect(money.markSent(sent, 9)).toBe(true);
  expect(money.markSent(sent, 9)).toBe(false);
  expect(money.expire(9, 10)).toEqual({ released: 0, unknown: 0 });
  expect(money.expire(10, 10)).toEqual({ released: 1, unknown: 1 });
  expect(money.countersOf(month)).toEqual({ reserved: 0n, spent: 0n, unknown: 5n });
});
