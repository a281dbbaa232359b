/** Limits of the fleet under other sessions' locks, changes and deaths. */
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, it } from 'vitest';
import { takeAlerts } from '../../../src/budget/alerts.ts';
import { releaseExpiredReservations } from '../../../src/budget/expire.ts';
import { removeFleetScope } from '../../../src/budget/fleet/scopes.ts';
import { fleetScopeStatus } from '../../../src/budget/fleet/status.ts';
import { sweepFleetScopes } from '../../../src/budget/fleet/sweep.ts';
import { parseUsd } from '../../../src/budget/money.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { wakeParkedJobs } from '../../../src/jobs/sweep.ts';
import { addJobType, finish, jobRow, runningJob } from '../../jobs/job-steps.ts';
import { reserve, settlementOf, untilWaiting } from '../../support/holds.ts';
import { startNode } from '../../support/process.ts';
import { addTenant } from '../../support/tenants.ts';
import type { TestAttempt } from '../../support/tenants.ts';
import { admitted, useFleet } from './fleet.ts';

const fleet = useFleet();
beforeAll(() => addJobType(fleet.sql));

it('a tenant with room in its allotment waits for no row that others share', async () => {
  const provider = { provider: 'held' };
  await fleet.limit('100', provider);
  const [one, other] = (await fleet.tenants(2)) as [TestAttempt, TestAttempt];
  await reserve(fleet.sql, one, '0.1', provider);
  await reserve(fleet.sql, other, '0.1', provider);
  const later = new Date(Date.now() + 3_600_000);
  // In the last hour of a day: a sweep that has to make the period waits for the lock of its scope.
  await fleet.sql`select purser.open_fleet_periods(${later})`;
  await fleet.locker.begin(async (tx) => {
    await tx`select from llm_fleet_periods for update`;
    await tx`select from llm_fleet_scopes for update`;
    await tx`
      select from llm_scope_periods where tenant_id = ${other.tenantId} and fleet_period_id is not null for update`;
    const held = await reserve(fleet.sql, one, '0.1', provider);
    await recordUsage(fleet.sql, settlementOf(held.reservationId, '0.05'));
    expect(await sweepFleetScopes(fleet.sql, later)).toBe(0);
  });
});

it('what another holds under a lock is left alone: the call is refused, and nobody waits', async () => {
  const provider = { provider: 'locked' };
  await fleet.limit('16', provider);
  const [one, other] = (await fleet.tenants(2)) as [TestAttempt, TestAttempt];
  await reserve(fleet.sql, one, '0.1', provider);
  await fleet.locker.begin(async (tx) => {
    await tx`
      select from llm_scope_periods where tenant_id = ${one.tenantId} and fleet_period_id is not null for update`;
    expect(await admitted(reserve(fleet.sql, other, '15.5', provider))).toBe(false);
    expect(await admitted(reserve(fleet.sql, other, '15.2', provider))).toBe(true);
  });
  expect(await admitted(reserve(fleet.sql, other, '0.7', provider))).toBe(true);
});

it('a limit that is set while calls run counts each of them once', async () => {
  const provider = { provider: 'running' };
  const all = await fleet.tenants(5);
  const calls = Array.from({ length: 40 }, async (_, n) => {
    const { reservationId } = await reserve(fleet.wide, all[n % 5] as TestAttempt, '0.1', provider);
    if (n % 4 === 0) await recordUsage(fleet.wide, settlementOf(reservationId, '0.05'));
    if (n % 4 === 1) await releaseReservation(fleet.wide, { reservationId });
    if (n % 4 === 2) await markUnknown(fleet.wide, { reservationId });
  });
  await Promise.all([...calls, fleet.limit('50', provider), fleet.limit('50', { kind: 'fleet' })]);
  const counted = { spentUsd: '0.5', unknownUsd: '1', reservedUsd: '1' };
  expect(await fleetScopeStatus(fleet.sql)).toMatchObject([
    { kind: 'fleet' },
    { kind: 'provider', binds: true, ...counted },
  ]);
});

it('a limit waits for a reserve that has not seen it, and counts it', async () => {
  const provider = { provider: 'unseen' };
  const [one, other] = (await fleet.tenants(2)) as [TestAttempt, TestAttempt];
  const setting = await fleet.locker.begin(async (tx) => {
    await reserve(tx as unknown as Sql, one, '0.7', provider);
    const done = fleet.limit('1', provider);
    await untilWaiting(fleet.sql, 1);
    // It counts already, and does not bind yet.
    expect(await fleetScopeStatus(fleet.sql)).toMatchObject([{ binds: false }]);
    return { done };
  });
  await setting.done;
  expect(await admitted(reserve(fleet.sql, other, '0.4', provider))).toBe(false);
  expect(await admitted(reserve(fleet.sql, other, '0.3', provider))).toBe(true);
});

it('a lowered limit waits for a reserve that has read the one before', async () => {
  const provider = { provider: 'reading' };
  await fleet.limit('16', provider);
  const [one] = (await fleet.tenants(1)) as [TestAttempt];
  await reserve(fleet.sql, one, '0.1', provider);
  const setting = await fleet.locker.begin(async (tx) => {
    await reserve(tx as unknown as Sql, one, '0.1', provider);
    const done = fleet.limit('0.2', provider);
    await untilWaiting(fleet.sql, 1);
    return { done };
  });
  expect(await setting.done).toBe('changed');
  expect(await admitted(reserve(fleet.sql, one, '0.1', provider))).toBe(false);
});

it('where more is allotted than a lowered limit, two tenants do not use the same room at once', async () => {
  const provider = { provider: 'shared' };
  await fleet.limit('16', provider);
  const [one, other] = (await fleet.tenants(2)) as [TestAttempt, TestAttempt];
  await reserve(fleet.sql, one, '0.1', provider);
  await reserve(fleet.sql, other, '0.1', provider);
  // Each has 0.7 left of 1.6 in all: both together may use 0.9 of it.
  await fleet.limit('1.1', provider);
  const beside = await fleet.locker.begin(async (tx) => {
    await reserve(tx as unknown as Sql, one, '0.7', provider);
    const call = admitted(reserve(fleet.wide, other, '0.7', provider));
    await Promise.race([call, untilWaiting(fleet.sql, 1)]);
    return { call };
  });
  expect(await beside.call).toBe(false);
  expect(await admitted(reserve(fleet.sql, other, '0.2', provider))).toBe(true);
});

it('once a limit is set or lowered, no call is admitted beyond it', async () => {
  const provider = { provider: 'lowered' };
  const all = await fleet.tenants(5);
  const used = async () => {
    const [row] = await fleet.sql<{ usd: string }[]>`
      select coalesce(sum(coalesce(u.cost_usd, r.estimated_cost_usd)), 0) as usd
      from llm_reservations r left join llm_usage u on u.reservation_id = r.id
      where r.provider = 'lowered' and r.status <> 'RELEASED'`;
    return parseUsd(row?.usd ?? '0');
  };
  for (const limitUsd of ['6', '3']) {
    const flood = Array.from({ length: 60 }, async (_, n) => {
      const run = reserve(fleet.wide, all[n % 5] as TestAttempt, '0.1', provider);
      if (!(await admitted(run))) return;
      const { reservationId } = await run;
      await recordUsage(fleet.wide, settlementOf(reservationId, '0.06'));
    });
    await fleet.limit(limitUsd, provider);
    await Promise.all(flood);
    const before = await used();
    const more = Array.from({ length: 80 }, (_, n) =>
      admitted(reserve(fleet.wide, all[n % 5] as TestAttempt, '0.1', provider)),
    );
    const made = (await Promise.all(more)).filter(Boolean).length;
    const room = parseUsd(limitUsd) - before;
    const fitting = room < 0n ? 0 : Number(room / parseUsd('0.1'));
    expect([limitUsd, made]).toEqual([limitUsd, fitting]);
  }
});

it('the hold and the lease of a process that was killed come back', async () => {
  await fleet.limit('16', { provider: 'test' });
  const [one, other] = (await fleet.tenants(2)) as [TestAttempt, TestAttempt];
  const script = fileURLToPath(new URL('../crashes/crash-child.ts', import.meta.url));
  const argument = JSON.stringify({ url: fleet.url, attempt: one });
  const child = startNode(['--import', 'tsx', script, 'reserve', argument], 'crash-child');
  await child.waitForLine(/reserved/);
  await child.kill();
  expect(await fleetScopeStatus(fleet.sql)).toMatchObject([
    { reservedUsd: '0.1', allottedUsd: '0.8' },
  ]);
  const later = new Date(Date.now() + 3_600_000);
  await releaseExpiredReservations({ sql: fleet.sql, now: later, limit: 500 });
  await sweepFleetScopes(fleet.sql, later);
  expect(await fleetScopeStatus(fleet.sql)).toMatchObject([{ reservedUsd: '0', allottedUsd: '0' }]);
  expect(await admitted(reserve(fleet.sql, other, '16'))).toBe(true);
});

it('parked jobs of all tenants wake as far as the limit has room for them', async () => {
  const provider = { provider: 'parking' };
  await fleet.limit('1', provider);
  const jobs: string[] = [];
  for (let n = 0; n < 3; n += 1) {
    const tenantId = await addTenant(fleet.sql, { limitUsd: '100' });
    for (let of = 0; of < 2; of += 1) {
      const attempt = await runningJob(fleet.sql, tenantId);
      expect(await admitted(reserve(fleet.sql, { ...attempt, tenantId }, '0.4', provider))).toBe(
        jobs.length < 2,
      );
      await finish(fleet.sql, attempt, {
        toState: 'parked',
        neededUsd: '0.4',
        until: new Date(Date.now() + 20 * 86_400_000),
        countsAttempt: false,
      });
      jobs.push(attempt.jobId);
    }
  }
  const states = async () =>
    (await Promise.all(jobs.slice(2).map((id) => jobRow(fleet.sql, id)))).map(({ state }) => state);
  // The first two were not refused: their month has room.
  expect(await wakeParkedJobs(fleet.sql)).toBe(2);
  expect(await wakeParkedJobs(fleet.sql)).toBe(0);
  // One fits into 0.5, two into 0.9.
  await fleet.limit('1.3', provider);
  expect(await wakeParkedJobs(fleet.sql)).toBe(1);
  expect(await wakeParkedJobs(fleet.sql)).toBe(0);
  await fleet.limit('1.7', provider);
  expect(await wakeParkedJobs(fleet.sql)).toBe(1);
  expect(await wakeParkedJobs(fleet.sql)).toBe(0);
  expect(await states()).toEqual(['pending', 'pending', 'parked', 'parked']);
  await removeFleetScope(fleet.sql, { kind: 'provider', period: 'day', ...provider });
  expect(await wakeParkedJobs(fleet.sql)).toBe(2);
});

it('sweeps at once raise each share once, for no tenant', async () => {
  const provider = { provider: 'alerts' };
  await fleet.limit('2', provider);
  const all = await fleet.tenants(2);
  const spend = async (usd: string) => {
    for (const one of all) {
      const { reservationId } = await reserve(fleet.sql, one, usd, provider);
      await recordUsage(fleet.sql, settlementOf(reservationId, usd));
    }
    await Promise.all(Array.from({ length: 5 }, () => sweepFleetScopes(fleet.wide)));
    const rows = await fleet.sql<{ text: string }[]>`
      select concat_ws(' ', tenant_id, percent, 'of', trim_scale(limit_usd), 'at', trim_scale(used_usd)) as text
      from llm_alerts where fleet_period_id is not null order by at, percent`;
    return rows.map(({ text }) => text);
  };
  expect(await spend('0.4')).toEqual([]);
  expect(await spend('0.1')).toEqual(['50 of 2 at 1']);
  expect(await spend('0.5')).toEqual(['50 of 2 at 1', '80 of 2 at 2', '100 of 2 at 2']);
  await fleet.limit('3', provider);
  expect((await spend('0')).slice(3)).toEqual(['50 of 3 at 2']);
  const [taken] = await takeAlerts(fleet.sql, { limit: 10, leaseMs: 0 });
  expect(taken).toMatchObject({ tenantId: null, scope: 'fleet', scopeValue: 'provider alerts' });
  expect(taken?.periodStart.getUTCHours()).toBe(0);
});
