/** Published prices become versions where they changed, and only there. */
import type { ConditionalPrice, ModelPrice } from '@pydantic/genai-prices';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { publishedModels } from '../../../src/budget/prices/catalogue.ts';
import { priceInForce, priceOf } from '../../../src/budget/prices/in-force.ts';
import { packageVersion } from '../../../src/budget/prices/published.ts';
import { ratesAt } from '../../../src/budget/prices/steps.ts';
import { syncPrices } from '../../../src/budget/prices/sync.ts';
import type { SyncRequest, SyncResult } from '../../../src/budget/prices/sync.ts';
import { listVersions } from '../../../src/budget/prices/versions.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { publishInstalled, publishModel } from './package-data.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterEach(async () => {
  publishInstalled();
  await database.sql`alter table llm_price_versions disable trigger append_only`;
  await database.sql`delete from llm_price_versions`;
  await database.sql`alter table llm_price_versions enable trigger append_only`;
});
afterAll(() => database.close());

const model = 'gpt-4o-mini';
const provider = 'openai';
const publish = (prices: ModelPrice | ConditionalPrice[] | undefined) =>
  publishModel(provider, model, prices);
const sync = (request: Partial<SyncRequest> = {}): Promise<SyncResult> =>
  syncPrices(database.sql, { models: [model], providers: [provider], by: 'test', ...request });
const flat = (usd: number): ModelPrice => ({ input_mtok: usd, output_mtok: usd });
const since = (date: string, usd: number): ConditionalPrice => ({
  constraint: { type: 'start_date', start_date: date },
  prices: flat(usd),
});
const inputs = ({ changes }: SyncResult) =>
  changes.map(({ rates, before }) => [before?.input?.usd ?? null, rates?.input?.usd ?? null]);
const dates = ({ changes }: SyncResult) => changes.map(({ validFrom }) => validFrom.toISOString());
const inputAt = async (at: string) => {
  const query = { tenantId: 't', model, provider, at: new Date(at) };
  return (await priceInForce(database.sql, query))?.rates.input?.usd;
};

describe('a sync', () => {
  it('stores every published price exactly, with all its classes, tiers and dates, and repeated nothing', async () => {
    const first = await syncPrices(database.sql, { by: 'test' });
    expect(first.models).toBeGreaterThan(1000);
    expect(first.changes.every(({ before }) => before === null)).toBe(true);
    expect((await syncPrices(database.sql, { by: 'test' })).changes).toEqual([]);

    const stored = await listVersions(database.sql, { history: true });
    const versions = new Map(stored.map((row) => [row.version, row]));
    const told = first.changes.map(({ provider: seller, model: id, validFrom, rates }) => {
      return { provider: seller, model: id, validFrom, rates };
    });
    expect(first.changes.map(({ version }) => versions.get(version))).toMatchObject(told);
    const of = (each: { provider: string | null; model: string }) =>
      stored.filter((row) => row.provider === each.provider && row.model === each.model);
    const tiered = publishedModels(['google', 'anthropic', 'openai']).filter(
      ({ steps }) => steps.length > 0,
    );
    for (const each of tiered) {
      for (const { validFrom, rates } of each.steps) {
        expect(ratesAt(of(each), validFrom)).toEqual(rates);
      }
    }
    expect(stored[0]).toMatchObject({
      source: 'genai-prices',
      by: 'test',
      reason: `published by @pydantic/genai-prices ${packageVersion}`,
    });
    expect(packageVersion).toMatch(/^\d+\.\d+\.\d+$/);
  });

  it('eight times at once adds each version once', async () => {
    const results = await Promise.all(
      Array.from({ length: 8 }, () => sync({ models: undefined, providers: ['openai', 'google'] })),
    );
    const added = results.map(({ changes }) => changes.length).filter((count) => count > 0);
    expect(added).toHaveLength(1);
    const twice = await database.sql`
      select model from llm_price_versions group by model, provider, valid_from having count(*) > 1`;
    expect([...twice]).toEqual([]);
  });

  it('of a price that changed without a date adds it from now on, or from the time that is given', async () => {
    publish(flat(1));
    const first = await sync();
    expect(inputs(first)).toEqual([[null, '1']]);
    expect(dates(first)).toEqual(['1970-01-01T00:00:00.000Z']);

    publish(flat(2));
    const pinned = await priceOf(database.sql, { tenantId: undefined, model });
    expect(pinned.rates.input?.usd).toBe('1');
    const second = await sync();
    expect(inputs(second)).toEqual([['1', '2']]);
    expect(await priceOf(database.sql, { tenantId: undefined, model })).toMatchObject({
      version: second.changes[0]?.version,
      rates: { input: { usd: '2' } },
    });
    expect(await inputAt('2026-01-01')).toBe('1');

    publish(flat(3));
    const third = await sync({ from: new Date('2026-02-01') });
    // From then on, and also from the start of the later version that said otherwise.
    expect(inputs(third)).toEqual([
      ['1', '3'],
      ['2', '3'],
    ]);
    expect([await inputAt('2026-01-31'), await inputAt('2026-02-01')]).toEqual(['1', '3']);
    expect((await priceOf(database.sql, { tenantId: undefined, model })).rates.input?.usd).toBe(
      '3',
    );
    expect(pinned.rates.input?.usd).toBe('1');
  });

  it('of a price with dates keeps each from its date, announced ones too', async () => {
    publish(flat(1));
    await sync();
    publish([{ prices: flat(1) }, since('2026-06-01', 2), since('2999-01-01', 3)]);
    const dated = await sync();
    expect(dates(dated)).toEqual(['2026-06-01T00:00:00.000Z', '2999-01-01T00:00:00.000Z']);
    expect(await inputAt('2026-05-31')).toBe('1');
    expect(await inputAt('2026-06-01')).toBe('2');
    expect(await inputAt('2999-01-01')).toBe('3');

    // Announced for a later day than before.
    publish([{ prices: flat(1) }, since('2026-06-01', 2), since('2999-03-01', 3)]);
    expect(inputs(await sync())).toEqual([
      ['3', '2'],
      ['3', '3'],
    ]);
    expect(await inputAt('2999-02-28')).toBe('2');
    expect(await inputAt('2999-03-01')).toBe('3');
    expect((await sync()).changes).toEqual([]);
  });

  it('ends a stored price that depends on the time of day from now on, and keeps one that is published no more', async () => {
    publish(flat(1));
    await sync();
    const atAnyTime = { start_time: '00:00:00Z', end_time: '23:59:59Z', type: 'time_of_date' };
    publish([
      { prices: flat(5) },
      { constraint: { ...atAnyTime, type: 'time_of_date' }, prices: flat(6) },
    ]);
    expect(inputs(await sync())).toEqual([['1', null]]);
    const atNoon = { tenantId: undefined, model, now: new Date('2999-01-01T12:00:00Z') };
    expect(await priceOf(database.sql, atNoon)).toMatchObject({
      packageVersion,
      rates: { input: { usd: '6' } },
    });
    expect((await sync()).changes).toEqual([]);

    publish(flat(4));
    expect(inputs(await sync())).toEqual([[null, '4']]);
    publish(undefined);
    expect((await sync({ models: undefined })).changes.filter((c) => c.model === model)).toEqual(
      [],
    );
    expect(await inputAt('2999-01-01')).toBe('4');
  });

  it('leaves out models whose price is incomplete, and refuses an unknown provider', async () => {
    publish({ input_mtok: 1 });
    expect(await sync()).toMatchObject({ models: 0, changes: [] });
    await expect(sync({ providers: ['opnai'] })).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/provider "opnai"; use anthropic, .*openai/),
    });
  });

  it('does not touch the prices of operators', async () => {
    await database.sql`
      insert into llm_prices (model, input_usd_per_mtok, output_usd_per_mtok) values (${model}, 9, 9)`;
    await sync();
    expect((await priceOf(database.sql, { tenantId: undefined, model })).source).toBe('operator');
  });
});
