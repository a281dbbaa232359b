/** All operations at once over the same tenants and limits of the fleet. */
import { expect, it } from 'vitest';
import { releaseExpiredReservations } from '../../../src/budget/expire.ts';
import { removeFleetScope } from '../../../src/budget/fleet/scopes.ts';
import { sweepFleetScopes } from '../../../src/budget/fleet/sweep.ts';
import { parseUsd } from '../../../src/budget/money.ts';
import { resolveUnknown, topUpMonth } from '../../../src/budget/resolve.ts';
import { setScope } from '../../../src/budget/scopes.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
import { wakeParkedJobs } from '../../../src/jobs/sweep.ts';
import { reserve, settlementOf } from '../../support/holds.ts';
import { randomOf } from '../storm/random.ts';
import { admitted, useFleet } from './fleet.ts';

const fleet = useFleet();

it('everything at once over the same tenants and limits: no deadlock, and no more allotted than the limit', async () => {
  const all = await fleet.tenants(6);
  await fleet.limit('20', { kind: 'fleet' });
  // Whatever is granted beyond this limit fails; its bills are within their holds.
  await fleet.limit('4', { provider: 'strict' });
  await fleet.sql.unsafe(`
    alter table llm_fleet_periods add constraint strict check (
      allotted_usd <= 4 or fleet_scope_id <> ${(await fleet.sql`select id from llm_fleet_scopes where provider = 'strict'`)[0]?.id})`);
  await fleet.limit('5', { kind: 'model', subject: 'small' });
  const random = randomOf(Number(process.env.STORM_SEED ?? 7));
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const held: { id: string; provider: string }[] = [];
  const reserveOne = async () => {
    const provider = pick(['strict', 'loose']);
    const one = pick(all);
    const run = reserve(fleet.wide, one, pick(['0.05', '0.2']), {
      provider,
      model: pick(['small', 'big']),
      ...(provider === 'loose' && random() < 0.2 ? { ttlMs: -1 } : {}),
    });
    if (await admitted(run)) held.push({ id: (await run).reservationId, provider });
  };
  const endOne = async () => {
    const [hold] = held.splice(Math.floor(random() * held.length), 1);
    if (hold === undefined) return;
    const { id: reservationId, provider } = hold;
    const usd = provider === 'loose' && random() < 0.3 ? '0.3' : '0.04';
    await pick([
      () => recordUsage(fleet.wide, settlementOf(reservationId, usd)),
      () => releaseReservation(fleet.wide, { reservationId }),
      () => markUnknown(fleet.wide, { reservationId }),
      async () => {
        await markUnknown(fleet.wide, { reservationId });
        await resolveUnknown(fleet.wide, {
          reservationId,
          evidence: 'invoice',
          costNanoUsd: parseUsd(usd),
          reason: 'test',
          by: 'test',
        });
      },
    ])();
  };
  const by = 'test';
  const others = [
    () => sweepFleetScopes(fleet.wide, new Date(Date.now() + 3_600_000)),
    () => releaseExpiredReservations({ sql: fleet.wide, limit: 50 }),
    () => fleet.limit(pick(['4', '6', '9']), { kind: 'model', subject: 'small' }),
    () => fleet.limit(pick(['10', '20']), { kind: 'fleet' }),
    () => fleet.limit('7', { kind: 'model', subject: 'big', hard: random() < 0.5 }),
    () => removeFleetScope(fleet.wide, { kind: 'model', subject: 'big', period: 'day' }),
    () =>
      setScope(fleet.wide, {
        tenantId: pick(all).tenantId,
        kind: 'model',
        period: 'day',
        limitUsd: pick(['50', '60']),
        hard: true,
        by,
      }),
    () => topUpMonth(fleet.wide, { tenantId: pick(all).tenantId, usd: '1', reason: 'storm', by }),
    () => wakeParkedJobs(fleet.wide),
  ];
  const faults: unknown[] = [];
  const lane = async () => {
    for (let n = 0; n < 40; n += 1) {
      const act = random();
      try {
        if (act < 0.5) await reserveOne();
        else if (act < 0.85) await endOne();
        else await pick<() => Promise<unknown>>(others)();
      } catch (error) {
        faults.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: 12 }, lane));
  expect(faults).toEqual([]);
  const [row] = await fleet.sql<{ deadlocks: number }[]>`
    select deadlocks::int from pg_stat_database where datname = current_database()`;
  expect(row).toEqual({ deadlocks: 0 });
  await fleet.sql`alter table llm_fleet_periods drop constraint strict`;
}, 60_000);
