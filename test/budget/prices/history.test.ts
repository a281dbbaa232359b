/** Prices over time: which version was in force when, and what a new version changes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PinnedPrice } from '../../../src/budget/pinned-price.ts';
import { priceInForce, priceOf } from '../../../src/budget/prices/in-force.ts';
import { setPrice } from '../../../src/budget/prices/set.ts';
import { syncPrices } from '../../../src/budget/prices/sync.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { day, ratesOf, set } from './setting.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.close());

describe('the price in force at a time', () => {
  const inForce = async (tenantId: string, at: string): Promise<PinnedPrice | undefined> =>
    priceInForce(database.sql, { tenantId, model: 'm', provider: undefined, at: new Date(at) });

  it('is that of the newest start, and a correction from the same start replaces it', async () => {
    const tenantId = await addTenant(database.sql);
    await set(database.sql, 'm', '1', { from: day('2026-01-01') });
    const march = await set(database.sql, 'm', '3', { from: day('2026-03-01') });
    await set(database.sql, 'm', '9', { from: day('2999-01-01') });
    const before = await inForce(tenantId, '2026-02-01');
    // January was wrong; March stays.
    const corrected = await set(database.sql, 'm', '2', { from: day('2026-01-01') });
    expect(corrected.until).toEqual(day('2026-03-01'));

    expect(await inForce(tenantId, '2025-12-31T23:59:59.999Z')).toBeUndefined();
    expect(await inForce(tenantId, '2026-01-01T00:00:00Z')).toMatchObject({
      version: corrected.version,
      rates: ratesOf('2'),
    });
    expect((await inForce(tenantId, '2026-02-28T23:59:59.999Z'))?.version).toBe(corrected.version);
    expect((await inForce(tenantId, '2026-03-01T00:00:00Z'))?.version).toBe(march.version);
    const now = await priceOf(database.sql, { tenantId: undefined, model: 'm' });
    expect(now.rates).toEqual(ratesOf('3'));
    expect((await inForce(tenantId, '2999-01-01T00:00:00Z'))?.rates).toEqual(ratesOf('9'));
    // What a call pinned then is what it was.
    expect(before).toMatchObject({ source: 'operator', rates: ratesOf('1') });
    expect(before?.version).not.toBe(corrected.version);
  });

  it("is a tenant's own from the start of its price to its end", async () => {
    const tenantId = await addTenant(database.sql);
    await set(database.sql, 'm', '7', { tenantId, from: day('2026-01-10') });
    await set(database.sql, 'm', null, { tenantId, from: day('2026-01-20') });
    const rates = await Promise.all(
      ['2026-01-09', '2026-01-10', '2026-01-20'].map(
        async (at) => (await inForce(tenantId, at))?.rates.input?.usd,
      ),
    );
    expect(rates).toEqual(['2', '7', '2']);
  });

  it('of a published model is that of its dates, stored or not', async () => {
    const query = { tenantId: 't', model: 'o3', provider: 'openai' };
    const at = async (text: string) => {
      const price = await priceInForce(database.sql, { ...query, at: new Date(text) });
      return [price?.rates.input?.usd, price?.version === undefined];
    };
    expect(await at('2025-06-09T23:59:59Z')).toEqual(['10', true]);
    expect(await at('2025-06-10T00:00:00Z')).toEqual(['2', true]);
    await syncPrices(database.sql, { models: ['o3'], by: 'test' });
    expect(await at('2025-06-09T23:59:59Z')).toEqual(['10', false]);
    expect(await at('2025-06-10T00:00:00Z')).toEqual(['2', false]);
    expect(await at('1990-01-01T00:00:00Z')).toEqual(['10', false]);
  });
});

describe('setting a price', () => {
  it('again changes nothing, however its decimals are written; another price is a new version', async () => {
    const first = await set(database.sql, 'again', '1.50');
    expect(first.version).toMatch(/^\d+$/);
    expect(await set(database.sql, 'again', '1.5')).toMatchObject({ version: null });
    expect(await set(database.sql, 'again', '1.5', { from: day('2999-01-01') })).toMatchObject({
      version: null,
    });
    expect((await set(database.sql, 'again', '1.51')).version).not.toBeNull();
    // In another scope it is another price.
    expect((await set(database.sql, 'again', '1.51', { provider: 'groq' })).version).not.toBeNull();
  });

  it('is refused for a tenant that is not there, and for rates that are no prices', async () => {
    await expect(set(database.sql, 'm', '1', { tenantId: 'nobody' })).rejects.toMatchObject({
      code: 'unknown_tenant',
    });
    for (const usd of ['-1', '1e3', 'NaN', '', ' 1', '1,5', '1234567890', '0x10', '١']) {
      await expect(set(database.sql, 'm', usd)).rejects.toThrow(/check|decimal/);
    }
    const withoutOutput = setPrice(database.sql, {
      tenantId: null,
      provider: null,
      model: 'm',
      by: 'test',
      reason: 'test',
      rates: { input: { usd: '1' } },
    });
    await expect(withoutOutput).rejects.toThrow(/check/);
  });

  it('of many at the same time adds each price once', async () => {
    const results = await Promise.all(
      Array.from({ length: 8 }, () => set(database.sql, 'raced', '4')),
    );
    expect(results.filter(({ version }) => version !== null)).toHaveLength(1);
    const rows = await database.sql`select from llm_price_versions where model = 'raced'`;
    expect(rows).toHaveLength(1);
  });
});
