/** Limits of the whole fleet are met exactly, whoever holds what is left of them. */
import { expect, it } from 'vitest';
import { fleetScopeStatus } from '../../../src/budget/fleet/status.ts';
import { parseUsd } from '../../../src/budget/money.ts';
import { setScope } from '../../../src/budget/scopes.ts';
import { reserve } from '../../support/holds.ts';
import type { TestAttempt } from '../../support/tenants.ts';
import { admitted, refusal, useFleet } from './fleet.ts';

const fleet = useFleet();

/** Each test has a provider of its own, so that what other tests called is not counted. */
let tests = 0;
const fresh = () => {
  tests += 1;
  return { provider: `provider-${tests}` };
};

const grantedTo = async ({ tenantId }: TestAttempt) => {
  const [row] = await fleet.sql<{ granted: string; left: string }[]>`
    select trim_scale(granted_usd) as granted, trim_scale(granted_usd - reserved_usd - spent_usd - unknown_usd) as left
    from llm_scope_periods where tenant_id = ${tenantId} and fleet_period_id is not null order by id desc limit 1`;
  return row;
};

it('of 50 calls of 25 tenants at once, exactly the 10 leave that fit', async () => {
  const provider = fresh();
  await fleet.limit('1', provider);
  const all = await fleet.tenants(25);
  const calls = Array.from({ length: 50 }, (_, n) =>
    admitted(reserve(fleet.wide, all[n % 25] as TestAttempt, '0.1', provider)),
  );
  expect((await Promise.all(calls)).filter(Boolean)).toHaveLength(10);
  expect(await fleetScopeStatus(fleet.sql)).toMatchObject([{ reservedUsd: '1', allottedUsd: '1' }]);
});

it('a refusal names the limit, and of what was used only what the tenant has used', async () => {
  const provider = fresh();
  await fleet.limit('1', { ...provider, kind: 'provider_key', subject: 'platform' });
  const [one, other] = (await fleet.tenants(2)) as [TestAttempt, TestAttempt];
  await reserve(fleet.sql, one, '0.7', provider);
  await reserve(fleet.sql, other, '0.2', provider);
  await reserve(fleet.sql, one, '5', { provider: 'another' });
  await reserve(fleet.sql, one, '5', { ...provider, providerKey: 'second' });
  const error = await refusal(reserve(fleet.sql, other, '0.3', provider));
  expect(error).toMatchObject({
    status: 402,
    fatal: false,
    details: {
      scope: 'fleet',
      scope_value: `key platform of provider ${provider.provider}`,
      period: 'day',
      limit: '1',
      used: '0',
      reserved: '0.2',
      needed: '0.3',
    },
  });
  expect(error.message).toMatch(/operator's daily limit of \$1 for key platform/);
  expect(error.message).not.toMatch(/0\.9|0\.7/);
  expect((await refusal(reserve(fleet.sql, other, '1.1', provider))).fatal).toBe(true);
});

it('a chunk is what the tenant uses in minutes, but no more than a sixteenth of what is left', async () => {
  const provider = fresh();
  await fleet.limit('100', provider);
  const [one, other] = (await fleet.tenants(2)) as [TestAttempt, TestAttempt];
  await reserve(fleet.sql, one, '0.1', provider);
  expect(await grantedTo(one)).toEqual({ granted: '0.8', left: '0.7' });
  for (let n = 0; n < 7; n += 1) await reserve(fleet.sql, one, '0.1', provider);
  expect(await grantedTo(one)).toEqual({ granted: '0.8', left: '0' });
  // At once used up: four times as much. A sixteenth of 99.2 would be 6.2.
  await reserve(fleet.sql, one, '0.1', provider);
  expect(await grantedTo(one)).toEqual({ granted: '4', left: '3.1' });
  await reserve(fleet.sql, other, '80', provider);
  expect(await grantedTo(other)).toEqual({ granted: '80', left: '0' });
  // 16 are left: a sixteenth of them.
  await reserve(fleet.sql, other, '0.5', provider);
  expect(await grantedTo(other)).toEqual({ granted: '81', left: '0.5' });
  // Half used in the time of a lease: the next chunk is half as large.
  await fleet.sql`
    update llm_scope_periods set leased_until = now() - interval '5 minutes'
    where tenant_id = ${one.tenantId} and fleet_period_id is not null`;
  await reserve(fleet.sql, one, '3.1', provider);
  await reserve(fleet.sql, one, '0.1', provider);
  expect(await grantedTo(one)).toEqual({ granted: '4.9375', left: '0.8375' });
});

it('what others hold and do not use is no reason to refuse', async () => {
  const provider = fresh();
  await fleet.limit('16', provider);
  const all = await fleet.tenants(4);
  for (const one of all) await reserve(fleet.sql, one, '0.1', provider);
  expect(await fleetScopeStatus(fleet.sql)).toMatchObject([
    { reservedUsd: '0.4', allottedUsd: '3.2' },
  ]);
  const [last] = (await fleet.tenants(1)) as [TestAttempt];
  await reserve(fleet.sql, last, '15.6', provider);
  expect(await fleetScopeStatus(fleet.sql)).toMatchObject([
    { reservedUsd: '16', allottedUsd: '16' },
  ]);
  await refusal(reserve(fleet.sql, last, '0.000000001', provider));
});

it('a request shrinks to what is left of all allotments, and a full limit leaves a fallback', async () => {
  const provider = fresh();
  await fleet.limit('1', provider);
  const [one, other] = (await fleet.tenants(2)) as [TestAttempt, TestAttempt];
  await reserve(fleet.sql, one, '0.1', provider);
  const smaller = { minOutputTokens: 100, fixedUsd: '0.1', outputUsdPerMtok: '1000' };
  expect(
    await reserve(fleet.sql, other, '2.1', { ...provider, maxOutputTokens: 2000, smaller }),
  ).toMatchObject({ maxOutputTokens: 800, holdNanoUsd: parseUsd('0.9') });
  const fallback = {
    provider: 'another',
    model: 'small',
    price: { source: 'test', model: 'small', rates: {} },
    holdNanoUsd: parseUsd('0.2'),
  };
  expect(
    await reserve(fleet.sql, other, '0.5', { ...provider, fallbacks: [fallback] }),
  ).toMatchObject({
    rung: 1,
  });
});

it('several limits of the fleet and of the tenant bind together', async () => {
  const provider = fresh();
  const [one, other] = (await fleet.tenants(2)) as [TestAttempt, TestAttempt];
  await fleet.limit('2', provider);
  await fleet.limit('1', { ...provider, kind: 'model', subject: 'big' });
  await setScope(fleet.sql, {
    tenantId: one.tenantId,
    kind: 'tenant',
    period: 'day',
    limitUsd: '0.5',
    hard: true,
    by: 'test',
  });
  const big = { ...provider, model: 'big' };
  expect((await refusal(reserve(fleet.sql, one, '0.6', big))).details).toMatchObject({
    scope: 'tenant',
  });
  await reserve(fleet.sql, one, '0.5', big);
  await reserve(fleet.sql, other, '0.5', big);
  expect((await refusal(reserve(fleet.sql, other, '0.1', big))).details).toMatchObject({
    scope: 'fleet',
    scope_value: `model big of provider ${provider.provider}`,
  });
  await reserve(fleet.sql, other, '1', provider);
  expect((await refusal(reserve(fleet.sql, other, '0.1', provider))).details).toMatchObject({
    scope_value: `provider ${provider.provider}`,
  });
});

it.each([
  [{ limitUsd: '-1' }, /limit/],
  [{ limitUsd: '1.0000000001' }, /9 decimals/],
  [{ limitUsd: '1000000000' }, /999999999/],
  [{ timeZone: 'Mars/Base' }, /IANA/],
  [{ provider: undefined }, /needs the name of the provider/],
  [{ provider: '' }, /1 to 200/],
  [{ kind: 'fleet' }, /no --provider/],
  [{ kind: 'model' }, /needs the name of the model/],
  [{ subject: 'platform' }, /no --key/],
] as const)('a limit of %j is refused', async (wrong, message) => {
  await expect(fleet.limit('1', { provider: 'openai', ...wrong })).rejects.toThrow(message);
  expect(await fleetScopeStatus(fleet.sql)).toEqual([]);
});
