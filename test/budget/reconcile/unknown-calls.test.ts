/** What a bucket tells of calls whose cost is unknown, and of those that ran over midnight. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { driftOf, reconcileText, useFolder } from './bench.ts';
import { callAt, costsFile } from './ledger-calls.ts';
import { removeTenants } from '../../support/tenants.ts';

let database: TestDatabase;
let sql: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  sql = database.sql;
});
afterEach(async () => {
  await removeTenants(sql);
});
afterAll(() => database.close());
const folder = useFolder();

const now = new Date('2026-11-20T00:00:00Z');
const compare = (text: string, more = {}) =>
  reconcileText(sql, folder, text, { provider: 'openai', now, ...more });

/** 1,000 tokens of input and 200 of output: 0.002 USD. */
const usage = { input: 1000, output: 200 };
const noon = '2026-11-10T12:00:00Z';

describe('an unknown call', () => {
  it('has one cost where it alone is left, and nothing where nothing is', async () => {
    await callAt(sql, { sentAt: noon, usage });
    const one = await callAt(sql, { sentAt: noon });
    const none = await callAt(sql, { sentAt: '2026-11-11T12:00:00Z' });
    const found = await compare(
      costsFile([
        ['2026-11-10', 'plain, input', '0.00330000'],
        ['2026-11-11', null, ''],
      ]),
    );
    expect(found.resolutions).toMatchObject([
      { reservationId: one, costNanoUsd: 1_300_000n, chargedUsd: '0.01' },
      { reservationId: none, costNanoUsd: 0n },
    ]);
    expect(found.resolutions[0]?.evidence).toMatch(
      /^openai-costs sha256:[0-9a-f]{32} 2026-11-10 plain$/,
    );
    expect(driftOf(found)).toEqual({ unknown_hold: '-0.0187' });
  });

  it('is a range where two are left, each within its own hold', async () => {
    const small = await callAt(sql, { sentAt: noon, hold: '0.001' });
    const large = await callAt(sql, { sentAt: noon, hold: '0.01' });
    const found = await compare(costsFile([['2026-11-10', 'plain, input', '0.00700000']]));
    const ranges = Object.fromEntries(
      found.unknown.map(({ reservationId, lowUsd, highUsd }) => [reservationId, [lowUsd, highUsd]]),
    );
    expect(ranges).toEqual({ [small]: ['0', '0.001'], [large]: ['0.006', '0.007'] });
    expect(found.resolutions).toEqual([]);
    expect(driftOf(found)).toEqual({ unknown_hold: '-0.004' });
    // All that they hold together was billed.
    const whole = await compare(costsFile([['2026-11-10', 'plain, input', '0.01100000']]));
    const costs = whole.resolutions.map((one) => [one.reservationId, one.costNanoUsd] as const);
    expect(Object.fromEntries(costs)).toEqual({ [small]: 1_000_000n, [large]: 10_000_000n });
    const more = await compare(costsFile([['2026-11-10', 'plain, input', '0.01100100']]));
    expect(more.buckets).toMatchObject([{ state: 'differs' }]);
  });

  it('is one also where its hold was assumed to be its cost', async () => {
    await sql`alter table llm_usage add column if not exists assumed boolean not null default false`;
    await callAt(sql, { sentAt: noon, usage });
    const assumed = await callAt(sql, { sentAt: noon, usage: { input: 1000, output: 1000 } });
    await sql`update llm_usage set assumed = true where reservation_id = ${assumed}`;
    const found = await compare(costsFile([['2026-11-10', 'plain, input', '0.00250000']]));
    expect(found.resolutions).toMatchObject([
      { reservationId: assumed, costNanoUsd: 500_000n, chargedUsd: '0.006' },
    ]);
    expect(driftOf(found)).toEqual({ unknown_hold: '-0.0055' });
  });

  it('costs at least what arrived of its answer', async () => {
    await sql`alter table llm_reservations add column if not exists received_output_tokens bigint`;
    const [begun, other] = [
      await callAt(sql, { sentAt: noon }),
      await callAt(sql, { sentAt: noon }),
    ];
    await sql`update llm_reservations set received_output_tokens = 100 where id = ${begun}`;
    const found = await compare(costsFile([['2026-11-10', 'plain, input', '0.00070000']]));
    const ranges = found.unknown.map(
      (one) => [one.reservationId, [one.lowUsd, one.highUsd]] as const,
    );
    expect(Object.fromEntries(ranges)).toEqual({
      [begun]: ['0.0005', '0.0007'],
      [other]: ['0', '0.0002'],
    });
    const less = await compare(costsFile([['2026-11-10', 'plain, input', '0.00030000']]));
    expect(less.buckets).toMatchObject([{ state: 'differs' }]);
  });

  it('is not resolved by a bucket that is a day old at most, nor by a coarse one', async () => {
    await callAt(sql, { sentAt: noon });
    const text = costsFile([['2026-11-10', 'plain, input', '0.00130000']]);
    const at = (time: string) => compare(text, { now: new Date(time) });
    const early = await at('2026-11-11T23:59:59Z');
    expect(early.unknown).toMatchObject([
      { lowUsd: '0.0013', highUsd: '0.0013', open: 'the bucket may not be final yet' },
    ]);
    expect((await at('2026-11-12T00:00:00Z')).resolutions).toHaveLength(1);
    const cents = costsFile([['2026-11-10', 'plain, input', '0.00']]);
    expect((await compare(cents)).unknown).toMatchObject([
      { lowUsd: '0', highUsd: '0.005', open: 'more than one assignment explains its bucket' },
    ]);
    const rounded = await compare(text, { roundingUsd: '0.0001' });
    expect(rounded.unknown).toMatchObject([{ lowUsd: '0.00125', highUsd: '0.00135' }]);
  });

  it('stands with the model that answered the others of its name', async () => {
    await callAt(sql, { sentAt: noon, model: 'fast', servedModel: 'plain-2026-01-01', usage });
    const unknown = await callAt(sql, { sentAt: noon, model: 'fast' });
    const found = await compare(
      costsFile([['2026-11-10', 'plain-2026-01-01, input', '0.00230000']]),
    );
    expect(found.resolutions).toMatchObject([{ reservationId: unknown, costNanoUsd: 300_000n }]);
  });

  it('that many are left is told, and that not all assignments were tried', async () => {
    await Promise.all(
      Array.from({ length: 24 }, () => callAt(sql, { sentAt: noon, hold: '0.001' })),
    );
    const found = await compare(costsFile([['2026-11-10', 'plain, input', '0.01200000']]));
    expect(found.buckets).toMatchObject([{ state: 'open', gaveUp: true }]);
    expect(new Set(found.unknown.map(({ open }) => open))).toEqual(
      new Set(['too many assignments to try them all']),
    );
    expect(new Set(found.unknown.map(({ lowUsd, highUsd }) => `${lowUsd} ${highUsd}`))).toEqual(
      new Set(['0 0.001']),
    );
  });
});

describe('a call that ran over midnight', () => {
  const over = { sentAt: '2026-11-10T23:59:50Z', endedAt: '2026-11-11T00:00:20Z' };

  it('stands in either bucket, and the parts of both days cancel', async () => {
    await callAt(sql, { ...over, usage });
    await callAt(sql, { sentAt: noon, usage });
    const both = (first: string, second: string) =>
      compare(
        costsFile([
          ['2026-11-10', 'plain, input', first],
          ['2026-11-11', 'plain, input', second],
        ]),
      );
    for (const [first, second] of [
      ['0.00400000', '0.00000000'],
      ['0.00200000', '0.00200000'],
    ] as const) {
      const found = await both(first, second);
      expect(found.buckets.map(({ state }) => state)).toEqual(['resolved', 'resolved']);
      expect([found.driftUsd, found.unknown]).toEqual(['0', []]);
    }
    expect((await both('0.00200000', '0.00000000')).driftUsd).toBe('-0.002');
  });

  it('of unknown cost is decided by both buckets together', async () => {
    const unknown = await callAt(sql, over);
    const rows = (first: string, second: string) =>
      costsFile([
        ['2026-11-10', 'plain, input', first],
        ['2026-11-11', 'plain, input', second],
      ]);
    for (const [first, second, cost] of [
      ['0.00000000', '0.00170000', 1_700_000n],
      ['0.00170000', '0.00000000', 1_700_000n],
      ['0.00000000', '0.00000000', 0n],
    ] as const) {
      const { resolutions } = await compare(rows(first, second));
      expect(resolutions).toMatchObject([{ reservationId: unknown, costNanoUsd: cost }]);
    }
    // The next day is not in the file: there it may stand.
    const cut = await compare(costsFile([['2026-11-10', 'plain, input', '0.00000000']]));
    expect(cut.unknown).toMatchObject([{ lowUsd: '0', highUsd: '0.01' }]);
    expect(cut.resolutions).toEqual([]);
  });
});
