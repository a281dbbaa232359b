/** Buckets that known calls do not explain, and the reasons that are told. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { driftOf, reconcileText, useFolder } from './bench.ts';
import { callAt, costsFile, plainPrice } from './ledger-calls.ts';
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

describe('a bucket that differs', () => {
  it('by amounts alone: price or usage, it does not tell', async () => {
    await callAt(sql, { sentAt: noon, usage });
    const found = await compare(costsFile([['2026-11-10', 'plain, input', '0.00250000']]));
    expect(found.buckets).toMatchObject([
      { state: 'differs', fileUsd: '0.0025', ledgerUsd: '0.002' },
    ]);
    expect(driftOf(found)).toEqual({ unexplained: '0.0005' });
  });

  it('by nothing but what each call was rounded up', async () => {
    const price = { ...plainPrice, rates: { input: { usd: '0.0375' }, output: { usd: '0.15' } } };
    for (const input of [101, 103, 107]) {
      await callAt(sql, { sentAt: noon, price, usage: { input, output: 1 } });
    }
    // 311 tokens at 37.5 nano-dollars and 3 at 150.
    const found = await compare(costsFile([['2026-11-10', 'plain, input', '0.0000121125000000']]));
    expect(found.buckets).toMatchObject([{ state: 'matched', ledgerUsd: '0.000012114' }]);
    expect(driftOf(found)).toEqual({ rounding: '-0.0000000015' });
    const tokens = await compare(
      costsFile([
        ['2026-11-10', 'plain, input', '0.0000116625000000', '311'],
        ['2026-11-10', 'plain, output', '0.0000004500000000', '3'],
      ]),
    );
    expect(driftOf(tokens)).toEqual({ rounding: '-0.0000000015' });
  });

  it('by counts: the usage at our rates, and what is left is the price', async () => {
    await callAt(sql, { sentAt: noon, usage });
    const rows = (output: string, cost: string) =>
      costsFile([
        ['2026-11-10', 'plain, input', '0.00100000', '1000'],
        ['2026-11-10', 'plain, output', cost, output],
      ]);
    expect(driftOf(await compare(rows('300', '0.00150000')))).toEqual({ usage: '0.0005' });
    expect(driftOf(await compare(rows('200', '0.00120000')))).toEqual({ price: '0.0002' });
    expect(driftOf(await compare(rows('300', '0.00180000')))).toEqual({
      usage: '0.0005',
      price: '0.0003',
    });
    const right = await compare(rows('200', '0.00100000'));
    expect([right.driftUsd, right.matched, right.of]).toEqual(['0', 1, 1]);
  });

  it('where another price explains the counts, no unknown call is settled at ours', async () => {
    await callAt(sql, { sentAt: noon, usage });
    const unknown = await callAt(sql, { sentAt: noon });
    const found = await compare(
      costsFile([
        ['2026-11-10', 'plain, input', '0.00400000', '2000'],
        ['2026-11-10', 'plain, output', '0.00250000', '250'],
      ]),
    );
    expect(found.resolutions).toEqual([]);
    expect(found.unknown).toMatchObject([
      { reservationId: unknown, lowUsd: '0', highUsd: '0.01', open: 'nothing explains its bucket' },
    ]);
    expect(driftOf(found)).toEqual({ unknown_hold: '-0.00875', price: '0.00325' });
  });

  it('because one side has nothing', async () => {
    await callAt(sql, { sentAt: noon, usage });
    await callAt(sql, { sentAt: '2026-11-12T12:00:00Z', model: 'other', usage });
    const found = await compare(
      costsFile([
        ['2026-11-10', 'plain, input', '0.00200000'],
        ['2026-11-11', 'plain, input', '0.00700000'],
        ['2026-11-12', 'evals | other, input', '0.00300000'],
      ]),
    );
    expect(driftOf(found)).toEqual({ missing_in_ledger: '0.01', missing_in_file: '-0.002' });
    expect(found.buckets.map(({ day, state }) => [day, state])).toEqual([
      ['2026-11-10', 'matched'],
      ['2026-11-11', 'differs'],
      ['2026-11-12', 'differs'],
      ['2026-11-12', 'differs'],
    ]);
  });

  it('what the file has of other providers, days, projects and keys is not compared', async () => {
    await callAt(sql, { sentAt: noon, usage, provider: 'google' });
    await callAt(sql, { sentAt: noon, usage });
    const text =
      'start_time,amount.value,line_item,project_id,project_name,api_key_id\n' +
      '2026-11-10,0.002,"plain, input",proj_1,ours,key_1\n' +
      '2026-11-10,0.4,"plain, input",proj_2,theirs,key_2\n' +
      '2026-11-09,0.5,"plain, input",proj_1,ours,key_1\n';
    const range = { from: new Date('2026-11-10'), to: new Date('2026-11-11') };
    const found = await compare(text, { project: 'ours', ...range });
    expect([found.driftUsd, found.of, found.notes]).toEqual([
      '0',
      1,
      ['left out: 1 rows of other projects, 0.4 USD', 'left out: 1 rows of other days, 0.5 USD'],
    ]);
    expect((await compare(text, { key: 'key_1', ...range })).driftUsd).toBe('0');
    const all = await compare(text, range);
    expect([all.driftUsd, all.notes.length]).toEqual(['0.4', 3]);
  });
});

describe('usage without amounts', () => {
  const anthropic = (rows: readonly string[]) =>
    compare(
      `usage_date_utc,model_version,usage_type,usage_input_tokens_no_cache,usage_input_tokens_cache_read,usage_output_tokens\n${rows.join('\n')}\n`,
      { provider: 'anthropic' },
    );
  const cachedPrice = { ...plainPrice, rates: { ...plainPrice.rates, cache_read: { usd: '0.1' } } };

  it('is priced at the rates of the ledger, apart for cached input and for service tiers', async () => {
    const call = {
      provider: 'anthropic',
      model: 'claude-haiku-4-5',
      price: cachedPrice,
      sentAt: noon,
    };
    await callAt(sql, { ...call, usage: { input: 100, cached: 5000, output: 10 } });
    const unknown = await callAt(sql, call);
    const found = await anthropic([
      '2026-11-10,claude-haiku-4-5-20251001,standard,150,7000,30',
      '2026-11-10,claude-haiku-4-5-20251001,batch,9,0,9',
    ]);
    // 50 tokens of input, 2,000 from the cache and 20 of output.
    expect(found.resolutions).toMatchObject([{ reservationId: unknown, costNanoUsd: 350_000n }]);
    expect(found.buckets).toMatchObject([
      { tier: 'batch', state: 'differs', fileUsd: null },
      { tier: 'standard', state: 'resolved', fileUsd: '0.001' },
    ]);
    expect(found.notes).toEqual([
      '1 buckets have usage of a model or tier that the ledger has no price of, and count as no cost',
    ]);
  });

  it('that is more than one call can have used is not one call', async () => {
    const call = { provider: 'anthropic', model: 'claude-haiku-4-5', sentAt: noon };
    const unknown = await callAt(sql, { ...call, hold: '0.001' });
    const found = await anthropic(['2026-11-10,claude-haiku-4-5,standard,1000,0,1']);
    expect(found.buckets).toMatchObject([{ state: 'differs', fileUsd: '0.001005' }]);
    expect(found.unknown).toMatchObject([{ reservationId: unknown, highUsd: '0.001' }]);
  });

  it('in another currency is compared by its counts', async () => {
    await callAt(sql, { provider: 'google', model: 'gemini-2.5-flash', sentAt: noon, usage });
    const row = (cell: string, cost: string, count: number) =>
      `Generate content ${cell} token count gemini 2.5 flash short input text,2026-11-10 12:00:00+00:00,2026-11-10 13:00:00+00:00,${cost},TWD,${count}`;
    const header = 'sku.description,usage_start_time,usage_end_time,cost,currency,usage.amount';
    const text = [header, row('input', '0.03', 1000), row('output', '0.03', 200)].join('\n');
    const found = await compare(`${text}\n`, { provider: 'google' });
    expect([found.driftUsd, found.matched, found.of]).toEqual(['0', 1, 1]);
  });
});
