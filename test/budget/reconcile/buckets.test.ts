/**
 * Daily sums made from the provider's own book, rounded as each provider rounds them, after calls of which some failed:
 * every bucket is explained, what has one assignment is resolved at what the provider has, and the rest are ranges that
 * contain it.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { formatUsd } from '../../../src/budget/money.ts';
import { applyResolutions } from '../../../src/budget/reconcile/resolve.ts';
import type { Reconciliation } from '../../../src/budget/reconcile/result.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { useProvider } from '../../support/llm-attempt.ts';
import type { WireProtocol } from '../../support/provider-protocols.ts';
import { attoOfUsd, driftOf, reconcileText, useFolder } from './bench.ts';
import {
  addPrices,
  billedCalls,
  daysAgo,
  faultsEvery,
  moveTo,
  nanoCeilUsd,
  runCalls,
} from './faulty-calls.ts';
import type { Billed, LedgerCallRow, TestModel } from './faulty-calls.ts';
import { anthropicCsv, anthropicJson } from './files/anthropic.ts';
import { googleCsv, googleJsonLines } from './files/google.ts';
import { openAiCsv, openAiJson } from './files/openai.ts';
import { removeTenants } from '../../support/tenants.ts';

const fixture = useProvider();
const folder = useFolder();
const record = { by: 'tester', reason: 'the export of the provider' };

/** Costs of the first are multiples of 2.5 micro-dollars, those of the second of 150 nano-dollars. */
const pricesOf = { big: [2_500_000, 10_000_000], small: [150_000, 600_000] } as const;

const namesOf: Readonly<Record<WireProtocol, readonly [string, string]>> = {
  openai: ['gpt-4o', 'gpt-4o-mini'],
  anthropic: ['claude-sonnet-4-5', 'claude-haiku-4-5'],
  google: ['gemini-2.5-flash', 'gemini-2.5-flash-lite'],
};

const days = [9, 8, 7, 6].map(daysAgo);
const [single = '', unbilled = '', several = '', known = ''] = days;

interface Made {
  readonly sql: Sql;
  readonly billed: readonly Billed[];
  /** Calls of unknown cost by the day that they stand on. */
  readonly unknown: readonly {
    readonly id: string;
    readonly model: string;
    readonly day: string;
  }[];
}

afterEach(async () => {
  await removeTenants(fixture.database.sql);
});

/**
 * 72 calls of two models, 12 of them unknown. On the first day each model has one unknown call that was billed, on the
 * second one that was not, on the third the other ones; the fourth has known calls only.
 */
async function callsOf(protocol: WireProtocol): Promise<Made> {
  const { database, provider } = fixture;
  const { sql } = database;
  const [big, small] = namesOf[protocol];
  const models = (['big', 'small'] as const).map((size): TestModel => {
    const [inputMicroUsd, outputMicroUsd] = pricesOf[size];
    return { name: size === 'big' ? big : small, inputMicroUsd, outputMicroUsd };
  });
  await addPrices(sql, models);
  const made: LedgerCallRow[] = [];
  for (const model of models) {
    const script = faultsEvery(6, 36);
    made.push(...(await runCalls(sql, provider, { protocol, models: [model], calls: 36, script })));
  }
  const inBook = new Set(
    billedCalls(provider, made, models, () => '').map((one) => one.reservationId),
  );
  const dayOf = new Map<string, string>();
  for (const { name } of models) {
    const own = made.filter(({ model }) => model === name);
    const open = own.filter(({ status }) => status === 'UNKNOWN');
    const [first] = open.filter(({ id }) => inBook.has(id));
    const [never] = open.filter(({ id }) => !inBook.has(id));
    own.forEach(({ id }, place) => dayOf.set(id, days[place % days.length] ?? known));
    for (const { id } of open) dayOf.set(id, several);
    dayOf.set(first?.id ?? '', single);
    dayOf.set(never?.id ?? '', unbilled);
  }
  for (const { id } of made) await moveTo(sql, id, dayOf.get(id) ?? known);
  const day = ({ id }: LedgerCallRow) => dayOf.get(id) ?? known;
  const unknown = made
    .filter(({ status }) => status === 'UNKNOWN')
    .map((call) => ({ id: call.id, model: call.model, day: day(call) }));
  const on = (day: string) => unknown.filter((one) => one.day === day).length;
  expect([single, unbilled, several, known].map(on)).toEqual([2, 2, 8, 0]);
  return { sql, billed: billedCalls(provider, made, models, day), unknown };
}

/** What is told of each unknown call is true: the one cost, or a range that has it. Returns the decided ones. */
function expectTruth({ billed, unknown }: Made, found: Reconciliation): string[] {
  expect(found.buckets.filter(({ state }) => state === 'differs')).toEqual([]);
  expect(found.matched).toBe(found.of);
  expect(found.unknown.map(({ reservationId }) => reservationId).toSorted()).toEqual(
    unknown.map(({ id }) => id).toSorted(),
  );
  const truthOf = (id: string) =>
    billed.find(({ reservationId }) => reservationId === id)?.atto ?? 0n;
  for (const { reservationId, lowUsd, highUsd } of found.unknown) {
    const truth = truthOf(reservationId);
    expect([lowUsd, attoOfUsd(lowUsd) <= truth]).toEqual([lowUsd, true]);
    expect([highUsd, attoOfUsd(highUsd) >= attoOfUsd(nanoCeilUsd(truth))]).toEqual([highUsd, true]);
  }
  for (const { reservationId, costNanoUsd } of found.resolutions) {
    expect(attoOfUsd(formatUsd(costNanoUsd))).toBe(attoOfUsd(nanoCeilUsd(truthOf(reservationId))));
  }
  const open = found.unknown.filter((one) => one.open !== undefined);
  expect(open.length + found.resolutions.length).toBe(unknown.length);
  return found.resolutions.map(({ reservationId }) => reservationId).toSorted();
}

const idsOn = ({ unknown }: Made, on: readonly string[], model?: string): string[] =>
  unknown
    .filter((one) => on.includes(one.day) && (model === undefined || one.model === model))
    .map(({ id }) => id)
    .toSorted();

/** After the decided costs are recorded, a second run finds no unknown call in those buckets, and no drift. */
async function expectSettled(made: Made, found: Reconciliation, text: string, provider: string) {
  expect(await applyResolutions(made.sql, found.resolutions, record)).toMatchObject({ failed: [] });
  const again = await reconcileText(made.sql, folder, text, { provider });
  expect(again.resolutions).toEqual([]);
  expect(again.unknown.map(({ reservationId }) => reservationId).toSorted()).toEqual(
    idsOn(made, [several]),
  );
  const settled = again.buckets.filter(({ day }) => day !== several);
  expect(settled.map(({ state }) => state)).toEqual(settled.map(() => 'matched'));
  expect(Object.keys(driftOf(again)).filter((reason) => reason !== 'rounding')).toEqual([
    'unknown_hold',
  ]);
}

describe('OpenAI', () => {
  it('costs: with quantities and with rounded floats, by line item and by day', async () => {
    const made = await callsOf('openai');
    const { sql, billed } = made;
    const csv = openAiCsv(billed, daysAgo(10));
    const exact = await reconcileText(sql, folder, csv, { provider: 'openai' });
    expect(exact).toMatchObject({ format: 'openai-costs', from: daysAgo(10), to: known });
    expect(expectTruth(made, exact)).toEqual(idsOn(made, [single, unbilled]));

    const json = openAiJson(billed, 'line_item');
    const rounded = await reconcileText(sql, folder, json, { provider: 'openai' });
    // A micro-dollar hides some tokens of the small model, and none of the big one.
    const ofBig = idsOn(made, [single, unbilled], 'gpt-4o');
    expect(expectTruth(made, rounded)).toEqual(expect.arrayContaining(ofBig));

    const byDay = await reconcileText(sql, folder, openAiJson(billed, 'day'), {
      provider: 'openai',
    });
    // Half a micro-dollar has no room for any call of the big model.
    const unbilledOfBig = idsOn(made, [unbilled], 'gpt-4o');
    expect(expectTruth(made, byDay)).toEqual(expect.arrayContaining(unbilledOfBig));
    expect(byDay.buckets.map(({ day }) => day)).toEqual(days);
    await expectSettled(made, exact, csv, 'openai');
  });
});

describe('Anthropic', () => {
  it('usage by key, model and tier: counts decide, whatever the price', async () => {
    const made = await callsOf('anthropic');
    const { sql, billed } = made;
    const csv = anthropicCsv(billed);
    const found = await reconcileText(sql, folder, csv, { provider: 'anthropic' });
    expect(found).toMatchObject({ format: 'anthropic-usage' });
    expect(expectTruth(made, found)).toEqual(idsOn(made, [single, unbilled]));
    const pages = await reconcileText(sql, folder, anthropicJson(billed), {
      provider: 'anthropic',
    });
    expect(pages).toMatchObject({ buckets: found.buckets, unknown: found.unknown });
    await expectSettled(made, found, csv, 'anthropic');
  });
});

describe('Google', () => {
  it('SKUs of a billing export, among other services and taxes', async () => {
    const made = await callsOf('google');
    const { sql, billed } = made;
    const csv = googleCsv(billed);
    const found = await reconcileText(sql, folder, csv, { provider: 'google' });
    expect(found).toMatchObject({ format: 'google-billing' });
    expect(expectTruth(made, found)).toEqual(idsOn(made, [single, unbilled]));
    expect(found.notes).toEqual([
      'left out: 1 rows of other SKUs, 2.8 USD',
      'left out: 1 rows of type tax, 1.5 USD',
    ]);
    const lines = await reconcileText(sql, folder, googleJsonLines(billed), { provider: 'google' });
    expect(lines).toMatchObject({ buckets: found.buckets, unknown: found.unknown });
    await expectSettled(made, found, csv, 'google');
  });
});
