/** Allotments through the ends of holds, leases, periods, tenants and limits; and what verify says of them. */
import { expect, it } from 'vitest';
import { releaseExpiredReservations } from '../../../src/budget/expire.ts';
import { removeFleetScope } from '../../../src/budget/fleet/scopes.ts';
import { fleetScopeStatus } from '../../../src/budget/fleet/status.ts';
import { sweepFleetScopes } from '../../../src/budget/fleet/sweep.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
import { verifyBudgets } from '../../../src/budget/verify.ts';
import { reserve, settlementOf } from '../../support/holds.ts';
import { removeTenants } from '../../support/tenants.ts';
import type { TestAttempt } from '../../support/tenants.ts';
import { refusal, useFleet } from './fleet.ts';

const fleet = useFleet();

/** Each test has a provider of its own, so that what other tests called is not counted. */
let tests = 0;
const fresh = () => {
  tests += 1;
  return { provider: `provider-${tests}` };
};

type Hold = Awaited<ReturnType<typeof reserve>>;

const leasesEnd = () =>
  fleet.sql`update llm_scope_periods set leased_until = now() where leased_until is not null`;

it('the holds and the lease of a dead process come back', async () => {
  const provider = fresh();
  await fleet.limit('16', provider);
  const [one] = (await fleet.tenants(1)) as [TestAttempt];
  await reserve(fleet.sql, one, '0.1', { ...provider, ttlMs: -1 });
  await releaseExpiredReservations({ sql: fleet.sql, limit: 500 });
  expect(await fleetScopeStatus(fleet.sql)).toMatchObject([
    { reservedUsd: '0', allottedUsd: '0.8' },
  ]);
  expect(await sweepFleetScopes(fleet.sql)).toBe(0);
  await leasesEnd();
  expect(await sweepFleetScopes(fleet.sql)).toBe(1);
  expect(await fleetScopeStatus(fleet.sql)).toMatchObject([{ reservedUsd: '0', allottedUsd: '0' }]);
  expect(await sweepFleetScopes(fleet.sql)).toBe(0);
});

it('every end of a hold moves the allotment; a bill beyond it counts against the limit', async () => {
  const provider = fresh();
  await fleet.limit('1', provider);
  const [one, other] = (await fleet.tenants(2)) as [TestAttempt, TestAttempt];
  const holds = [];
  for (let n = 0; n < 4; n += 1) holds.push(await reserve(fleet.sql, one, '0.1', provider));
  const [settled, unknown, released, dear] = holds as [Hold, Hold, Hold, Hold];
  await recordUsage(fleet.sql, settlementOf(settled.reservationId, '0.05'));
  await markUnknown(fleet.sql, unknown);
  await releaseReservation(fleet.sql, released);
  await recordUsage(fleet.sql, settlementOf(dear.reservationId, '0.8'));
  expect(await fleetScopeStatus(fleet.sql)).toMatchObject([
    { spentUsd: '0.85', unknownUsd: '0.1', reservedUsd: '0' },
  ]);
  expect((await refusal(reserve(fleet.sql, other, '0.06', provider))).details).toMatchObject({
    used: '0',
  });
  await reserve(fleet.sql, other, '0.05', provider);
  // Billed after it was given back: the limit is passed by the bill alone.
  await recordUsage(fleet.sql, settlementOf(released.reservationId, '0.1'));
  await recordUsage(fleet.sql, settlementOf(unknown.reservationId, '0'));
  expect(await fleetScopeStatus(fleet.sql)).toMatchObject([
    { spentUsd: '0.95', allottedUsd: '1.1' },
  ]);
  // What has become free in its allotment is not its own while more is allotted than the limit.
  await refusal(reserve(fleet.sql, one, '0.01', provider));
});

it('the next period begins empty, and a late settlement goes to the period of its hold', async () => {
  const provider = fresh();
  const [one] = (await fleet.tenants(1)) as [TestAttempt];
  const before = { now: new Date('2026-03-29T21:59:00Z') };
  const after = { now: new Date('2026-03-29T22:01:00Z') };
  await fleet.limit('1', { ...provider, ...before, timeZone: 'Europe/Berlin' });
  const held = await reserve(fleet.sql, one, '1', { ...provider, ...before });
  const error = await refusal(reserve(fleet.sql, one, '0.1', { ...provider, ...before }));
  expect(error.resetsAt).toEqual(new Date('2026-03-29T22:00:00Z'));
  const all = await fleet.tenants(5);
  const first = await Promise.allSettled(
    Array.from({ length: 20 }, (_, n) =>
      reserve(fleet.wide, all[n % 5] as TestAttempt, '0.1', { ...provider, ...after }),
    ),
  );
  expect(first.filter(({ status }) => status === 'fulfilled')).toHaveLength(10);
  await recordUsage(fleet.sql, settlementOf(held.reservationId, '0.9', after.now));
  expect(
    await fleet.sql`
    select p.starts_at, extract(epoch from p.ends_at - p.starts_at) / 3600 as hours,
      trim_scale(sum(a.spent_usd)) as spent, trim_scale(sum(a.reserved_usd)) as reserved
    from llm_fleet_periods p join llm_scope_periods a on a.fleet_period_id = p.id
    join llm_fleet_scopes s on s.id = p.fleet_scope_id group by p.id order by p.id`,
  ).toMatchObject([
    {
      starts_at: new Date('2026-03-28T23:00:00Z'),
      hours: '23.0000000000000000',
      spent: '0.9',
      reserved: '0',
    },
    { starts_at: new Date('2026-03-29T22:00:00Z'), spent: '0', reserved: '1' },
  ]);
});

it('a soft limit admits and flags', async () => {
  const provider = fresh();
  await fleet.limit('1', { ...provider, hard: false });
  const [one] = (await fleet.tenants(1)) as [TestAttempt];
  expect(await reserve(fleet.sql, one, '0.9', provider)).toMatchObject({ overLimit: false });
  expect(await reserve(fleet.sql, one, '0.9', provider)).toMatchObject({ overLimit: true });
});

it('what a deleted tenant has used stays used', async () => {
  const provider = fresh();
  await fleet.limit('1', provider);
  const [one, other] = (await fleet.tenants(2)) as [TestAttempt, TestAttempt];
  const { reservationId } = await reserve(fleet.sql, one, '0.6', provider);
  await recordUsage(fleet.sql, settlementOf(reservationId, '0.6'));
  await removeTenants(fleet.sql, one.tenantId);
  await refusal(reserve(fleet.sql, other, '0.5', provider));
  await reserve(fleet.sql, other, '0.4', provider);
  expect(await fleetScopeStatus(fleet.sql)).toMatchObject([{ spentUsd: '0.6', allottedUsd: '1' }]);
});

it('a removed limit refuses nothing, its rows go with a sweep, and it may be set again', async () => {
  const provider = fresh();
  await fleet.limit('1', provider);
  const [one] = (await fleet.tenants(1)) as [TestAttempt];
  const held = await reserve(fleet.sql, one, '1', provider);
  const target = { kind: 'provider', period: 'day', ...provider } as const;
  expect(await removeFleetScope(fleet.sql, target)).toBe(true);
  expect(await removeFleetScope(fleet.sql, target)).toBe(false);
  await reserve(fleet.sql, one, '1', provider);
  await fleet.sql`update llm_fleet_scopes set removed_at = now() - interval '1 hour' where removed_at is not null`;
  await sweepFleetScopes(fleet.sql);
  await recordUsage(fleet.sql, settlementOf(held.reservationId, '2'));
  expect(await fleet.sql`select from llm_fleet_periods`).toHaveLength(0);
  await fleet.limit('3.5', provider);
  expect(await fleetScopeStatus(fleet.sql)).toMatchObject([{ spentUsd: '2', reservedUsd: '1' }]);
  await refusal(reserve(fleet.sql, one, '0.6', provider));
  await reserve(fleet.sql, one, '0.5', provider);
});

it.each([
  [
    'reserved_usd = reserved_usd + 0.1, granted_usd = granted_usd + 0.1',
    'reserved_usd of the fleet',
  ],
  ['granted_usd = granted_usd + 1', 'allotted_usd of the fleet'],
  ['calls = calls + 1', 'calls of the fleet'],
])('verify names a broken counter: %s', async (change, name) => {
  const provider = fresh();
  await fleet.limit('10', provider);
  const [one] = (await fleet.tenants(1)) as [TestAttempt];
  await reserve(fleet.sql, one, '1', provider);
  const before = await fleet.sql`select * from llm_scope_periods where tenant_id = ${one.tenantId}`;
  await fleet.sql.unsafe(
    `update llm_scope_periods set ${change} where tenant_id = '${one.tenantId}'`,
  );
  const { differences } = await verifyBudgets(fleet.sql);
  expect(differences.map((each) => each.name).join('\n')).toContain(
    `${name}'s limit: provider ${provider.provider}`,
  );
  const [row] = before;
  await fleet.sql`
    update llm_scope_periods set granted_usd = ${row?.granted_usd as string},
      reserved_usd = ${row?.reserved_usd as string}, calls = ${row?.calls as string}
    where id = ${row?.id as string}`;
});

it('verify names a call that a limit does not count', async () => {
  const provider = fresh();
  await fleet.limit('10', provider);
  const [one] = (await fleet.tenants(1)) as [TestAttempt];
  const { reservationId } = await reserve(fleet.sql, one, '1', provider);
  const pins = await fleet.sql<
    { reservation_id: string; scope_period_id: string; tenant_id: string }[]
  >`delete from llm_pins where reservation_id = ${reservationId} returning *`;
  const { differences } = await verifyBudgets(fleet.sql);
  expect(differences.map((each) => each.name)).toContainEqual(
    `pin of reservation ${reservationId} to the fleet's limit: provider ${provider.provider}`,
  );
  await fleet.sql`insert into llm_pins ${fleet.sql(pins)}`;
});
