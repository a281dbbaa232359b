import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { billOf, estimateCost } from '../../../src/budget/bill.ts';
import { priceOf } from '../../../src/budget/prices/in-force.ts';
import { publishedPrice } from '../../../src/budget/prices/published.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.close());

describe('prices', () => {
  it('a published price is exact, and cached tokens cost their own rate', async () => {
    const price = await priceOf(database.sql, { tenantId: undefined, model: 'gpt-4o-mini' });
    expect(price).toMatchObject({ source: 'genai-prices', rates: { input: { usd: '0.15' } } });
    // 800 * 0.15 + 200 * 0.075 + 100 * 0.6 USD per million tokens
    const { costNanoUsd } = billOf(price, { input: 800, cache_read: 200, output: 100 });
    expect(costNanoUsd).toBe(195_000n);
  });

  it('a hold covers every rate that a request of text can reach, cache writes and tiers included', () => {
    const sonnet = publishedPrice({ model: 'claude-sonnet-4-5' });
    if (sonnet === undefined) throw new Error('claude-sonnet-4-5 has no published price');
    const bound = estimateCost(sonnet, { inputTokens: 300_000, maxOutputTokens: 1000 });
    // 300,000 * 7.5 + 1,000 * 22.5 USD per million tokens: written to the cache, above 200,000 tokens
    expect(bound).toBe(2_272_500_000n);
    for (const count of [1, 200_000, 200_001, 300_000]) {
      for (const name of ['input', 'cache_read', 'cache_write'] as const) {
        const { costNanoUsd } = billOf(sonnet, { [name]: count, output: 1000 });
        expect(costNanoUsd).toBeLessThanOrEqual(bound);
      }
    }
  });

  it('a tier applies above its start, not at its start', () => {
    const price = publishedPrice({ model: 'gemini-2.5-pro' });
    if (price === undefined) throw new Error('gemini-2.5-pro has no published price');
    expect(billOf(price, { input: 200_000 }).costNanoUsd).toBe(250_000_000n);
    expect(billOf(price, { input: 200_001 }).costNanoUsd).toBe(500_002_500n);
    // Cached tokens count towards the tier.
    expect(billOf(price, { input: 1, cache_read: 200_000 }).costNanoUsd).toBe(50_002_500n);
  });

  it('the host of the provider selects the price; an unknown host is priced by the name of the model', () => {
    const groq = publishedPrice({
      model: 'llama-3.1-8b-instant',
      baseUrl: 'https://api.groq.com/openai/v1',
    });
    expect(groq?.rates.input?.usd).toBe('0.05');
    const proxy = publishedPrice({ model: 'gpt-4o-mini', baseUrl: 'http://127.0.0.1:9/v1' });
    expect(proxy?.rates.input?.usd).toBe('0.15');
  });

  it("the operator's newest valid price takes precedence over the published one", async () => {
    await database.sql`
      insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok) values
        ('gpt-4.1', '2020-01-01', 9, 9), ('gpt-4.1', '2021-01-01', 0.1230, 0.4560), ('gpt-4.1', '2999-01-01', 7, 7)`;
    const price = await priceOf(database.sql, { tenantId: undefined, model: 'gpt-4.1' });
    expect(price).toMatchObject({
      source: 'operator',
      rates: { input: { usd: '0.123' }, output: { usd: '0.456' } },
    });
  });

  it('the fee per request of an operator is part of the hold and of the bill', async () => {
    await database.sql`
      insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok, usd_per_request)
      values ('searching', '2020-01-01', 1, 1, 0.025)`;
    const price = await priceOf(database.sql, { tenantId: undefined, model: 'searching' });
    expect(estimateCost(price, { inputTokens: 0, maxOutputTokens: 0 })).toBe(25_000_000n);
    expect(billOf(price, { input: 1_000_000 }).costNanoUsd).toBe(1_025_000_000n);
  });

  it('a model without a price is refused with an error that names the model and the fix', async () => {
    await expect(
      priceOf(database.sql, { tenantId: undefined, model: "my-o'model" }),
    ).rejects.toMatchObject({
      code: 'model_unpriced',
      details: { class: 'fatal' },
      message: expect.stringMatching(
        /my-o'model.*purser prices set --model 'my-o'\\''model' --input/s,
      ),
    });
  });
});
