/** Settled calls at a price that was corrected later: what changes, what is left, and that it is charged once. */
import { expect, it } from 'vitest';
import { billOf } from '../../../src/budget/bill.ts';
import { assumeUnknown, resolveUnknown } from '../../../src/budget/resolve.ts';
import { setScope } from '../../../src/budget/scopes.ts';
import { recordUsage } from '../../../src/budget/settle.ts';
import { countersOf } from '../../support/holds.ts';
import { addTenant } from '../../support/tenants.ts';
import { day, ratesOf, set } from '../prices/setting.ts';
import { leftOf, linesOf, million, useRatedCalls } from './rated-calls.ts';

const rated = useRatedCalls();
const { pricedModel, pinned, call, correct, run, ledgerOf } = rated;

const apply = { by: 'grace', reason: 'the price of March was wrong' };

it('shows the difference by tenant and month, charges it there once, and moves scopes and alerts with it', async () => {
  const model = await pricedModel();
  const [one, other] = [
    await addTenant(rated.sql, { limitUsd: '10' }),
    await addTenant(rated.sql, { limitUsd: '10' }),
  ];
  const at = day('2026-03-10');
  const scope = { kind: 'model', period: 'month', limitUsd: '8', hard: true, by: 'test' } as const;
  await setScope(rated.sql, { tenantId: one, ...scope, now: at });
  const first = await call(one, model);
  const april = await call(one, model, { at: day('2026-04-30'), counts: { input: 1 } });
  await call(other, model);
  await call(other, await pricedModel());
  // Another price since May, and one that was right in January.
  await set(rated.sql, model, '9', { from: day('2026-05-01') });
  await call(other, model, { at: day('2026-01-31') });
  await correct(model, ratesOf('2.0000005'), '2026-02-01');
  const expected = [
    `${one} 2026-03 1 3 -> 6.0000015`,
    // One token, rounded up.
    `${one} 2026-04 1 0.000001 -> 0.000002001`,
    `${other} 2026-03 1 3 -> 6.0000015`,
  ].toSorted();

  const preview = await run(model);
  expect(linesOf(preview).toSorted()).toEqual(expected);
  expect([preview.looked, preview.left]).toEqual([4, []]);
  expect(await ledgerOf(first)).toHaveLength(2);

  // Another tenant's calls are not looked at.
  expect(linesOf(await run(model, { tenantId: one, apply })).toSorted()).toEqual(
    expected.filter((line) => line.startsWith(one)),
  );
  expect(linesOf(await run(model, { apply }))).toEqual([`${other} 2026-03 1 3 -> 6.0000015`]);
  expect(await run(model, { apply })).toMatchObject({ looked: 4, sums: [], left: [], repeated: 0 });
  expect(await ledgerOf(first)).toEqual([
    'reserve 0 2026-03',
    'settle 3 2026-03',
    'adjust 3.0000015 2026-03',
  ]);
  expect((await ledgerOf(april)).at(-1)).toBe('adjust 0.000001001 2026-04');
  expect((await countersOf(rated.sql, one, '2026-03-01')).spent).toBe('6.0000015');
  const scopes = await rated.sql`
    select trim_scale(spent_usd) as spent from llm_scope_periods
    where tenant_id = ${one} order by starts_at limit 1`;
  expect(scopes).toEqual([{ spent: '6.0000015' }]);
  // 50 % of the month's 10 and of the scope's 8 by the re-rating alone.
  const alerts = await rated.sql`
    select percent, scope_period_id is null as month from llm_alerts
    where tenant_id = ${one} and kind = 'threshold' order by 2, 1`;
  expect(alerts).toEqual([
    { percent: 50, month: false },
    { percent: 50, month: true },
  ]);
  const [adjustment] = await rated.sql`
    select a.evidence = 'price ' || v.id as by_version, a.reason, a.set_by from llm_adjustments a, llm_price_versions v
    where a.reservation_id = ${first} and v.model = ${model} and v.by = 'grace'`;
  expect(adjustment).toEqual({ by_version: true, reason: apply.reason, set_by: 'grace' });
});

it('follows a price that is corrected again, to less and back, and each time from what is charged now', async () => {
  const model = await pricedModel();
  const tenantId = await addTenant(rated.sql, { limitUsd: '100' });
  const reservation = await call(tenantId, model, { factor: '0.5', serviceTier: 'flex' });
  const at = async (usd: string | null): Promise<string[]> => {
    if (usd === null) await set(rated.sql, model, null, { from: day('2026-01-01'), tenantId });
    else if (usd.startsWith('own ')) {
      await set(rated.sql, model, usd.slice(4), { from: day('2026-01-01'), tenantId });
    } else await correct(model, ratesOf(usd));
    return linesOf(await run(model, { apply }));
  };
  const line = (change: string): string[] => [`${tenantId} 2026-03 1 ${change}`];
  expect(await at('0.4')).toEqual(line('1.5 -> 0.6'));
  expect(await at('own 3')).toEqual(line('0.6 -> 4.5'));
  // The tenant's price ends, and that of all counts again, for which there is evidence.
  expect(await at(null)).toEqual(line('4.5 -> 0.6'));
  expect(linesOf(await run(model, { apply }))).toEqual([]);
  expect(await at('own 3')).toEqual(line('0.6 -> 4.5'));
  expect(await at(null)).toEqual(line('4.5 -> 0.6'));
  expect((await ledgerOf(reservation)).slice(2)).toEqual(
    ['-0.9', '3.9', '-3.9', '3.9', '-3.9'].map((usd) => `adjust ${usd} 2026-03`),
  );
  expect((await countersOf(rated.sql, tenantId)).spent).toBe('0.6');
});

it('leaves what has no bill of its own usage or no rate, and says why', async () => {
  const model = await pricedModel();
  const tenantId = await addTenant(rated.sql, { limitUsd: '100' });
  const resolved = await call(tenantId, model, { end: 'unknown' });
  await resolveUnknown(rated.sql, {
    reservationId: resolved,
    costNanoUsd: 7n,
    evidence: 'price 1',
    reason: 'told by mail',
  });
  await call(tenantId, model, { end: 'unknown', at: day('2026-03-01') });
  await assumeUnknown(rated.sql, { afterMs: 1, limit: 1, now: day('2026-03-02') });
  await call(tenantId, model, { end: 'unknown' });
  await call(tenantId, model, { end: 'running' });
  const more = [{ class: 'uncovered', usd: '1' }];
  await call(tenantId, model, { counts: { ...million, output_audio: 5 }, more });
  await call(tenantId, model, {
    more,
    uncovered: ['service tier priority'],
  });
  await call(tenantId, model, { more: [{ class: 'provider_charge', usd: '1' }] });
  await call(tenantId, model, { factor: '0.77' });
  const counted = await call(tenantId, model);
  await correct(model, ratesOf('3'));
  const found = await run(model, { apply });
  expect(leftOf(found)).toEqual([
    '1 assumed',
    '1 by_evidence',
    '1 no_rate output_audio',
    '1 other_rates',
    '1 provider_figure',
    '1 running',
    '1 service_tier service tier priority',
    '1 unknown',
  ]);
  expect(linesOf(found)).toEqual([`${tenantId} 2026-03 1 3 -> 9`]);
  expect((await ledgerOf(counted)).at(-1)).toBe('adjust 6 2026-03');

  // With a rate for it the audio is charged, and what stood in for it goes.
  await correct(model, { ...ratesOf('3'), output_audio: { usd: '100000' } });
  expect(linesOf(await run(model, { apply }))).toEqual([`${tenantId} 2026-03 1 4.000005 -> 9.5`]);
  const factorless = await pricedModel('0');
  await call(tenantId, factorless, { serviceTier: 'flex', factor: '0.5' });
  await correct(factorless, ratesOf('1'));
  expect(leftOf(await run(factorless))).toEqual(['1 service_tier flex']);
  await set(rated.sql, factorless, null, { from: day('2026-01-01') });
  expect(leftOf(await run(factorless))).toEqual(['1 no_price']);
});

it('by two operators at once, beside the settling fleet, charges each call once', async () => {
  const model = await pricedModel();
  const tenantId = await addTenant(rated.sql, { limitUsd: '1000' });
  const scope = { kind: 'tenant', period: 'day', limitUsd: '900', hard: true, by: 'test' } as const;
  await setScope(rated.sql, { tenantId, ...scope, now: day('2026-03-10') });
  const calls: string[] = [];
  for (let made = 0; made < 60; made += 1) calls.push(await call(tenantId, model));
  await correct(model, ratesOf('2'));
  const settling = (async () => {
    for (let made = 0; made < 20; made += 1) await call(tenantId, model);
  })();
  const results = await Promise.all([
    run(model, { apply }, rated.wide),
    run(model, { apply }, rated.wide),
    settling,
  ]);
  const both = results.slice(0, 2).flatMap((result) => (result === undefined ? [] : [result]));
  expect(both.flatMap(({ sums }) => sums).reduce((sum, { calls: n }) => sum + n, 0)).toBe(60);
  expect(both.map(({ changedMeanwhile }) => changedMeanwhile)).toEqual([0, 0]);
  // Those of the fleet were made at the price in force.
  expect((await countersOf(rated.sql, tenantId)).spent).toBe('480');
  const [row] = await rated.sql<{ n: number }[]>`
    select count(*)::int as n from llm_adjustments where reservation_id = any(${calls}::uuid[])`;
  expect(row?.n).toBe(60);
});

it('does not undo what changed meanwhile, and a repeated report of the same bill stays a repetition', async () => {
  const model = await pricedModel();
  const tenantId = await addTenant(rated.sql, { limitUsd: '100' });
  const reservationId = await call(tenantId, model);
  const { items } = billOf(await pinned(tenantId, model, day('2026-03-10')), million);
  await correct(model, ratesOf('2'));
  const [row] = await rated.sql<{ outcome: string }[]>`
    select outcome from purser.budget_rerate(${JSON.stringify([
      { id: reservationId, evidence: 'price 0', before_usd: '2.9', cost_usd: '0', items: [] },
    ])}::text::jsonb, 'test', 'test', null)`;
  expect(row?.outcome).toBe('changed');
  await run(model, { apply });
  expect(await recordUsage(rated.sql, { reservationId, items })).toMatchObject({ applied: false });
  const other = { class: 'input', count: 1, usd: '1', per: 1_000_000 } as const;
  await expect(recordUsage(rated.sql, { reservationId, items: [other] })).rejects.toMatchObject({
    code: 'idempotency_conflict',
  });
  expect((await countersOf(rated.sql, tenantId)).spent).toBe('6');
});

it('a report that comes after evidence corrects it once, and is no conflict', async () => {
  const model = await pricedModel();
  const tenantId = await addTenant(rated.sql, { limitUsd: '100' });
  const reservationId = await call(tenantId, model, { end: 'unknown' });
  const told = { reservationId, costNanoUsd: 10n ** 9n, evidence: 'look-up', reason: 'told' };
  await resolveUnknown(rated.sql, told);
  const { items } = billOf(await pinned(tenantId, model, day('2026-03-10')), million);
  expect(await recordUsage(rated.sql, { reservationId, items })).toMatchObject({ applied: true });
  expect(await recordUsage(rated.sql, { reservationId, items })).toMatchObject({ applied: false });
  expect(await ledgerOf(reservationId)).toEqual(
    ['reserve 0', 'unknown 0', 'settle 1', 'adjust 2'].map((entry) => `${entry} 2026-03`),
  );
  await expect(recordUsage(rated.sql, { reservationId, items: [] })).rejects.toMatchObject({
    code: 'idempotency_conflict',
  });
  expect((await resolveUnknown(rated.sql, told)).outcome).toBe('repeated');
});
