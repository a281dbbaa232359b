import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { costOfUsage, estimateCost, priceOf, publishedPrice } from '../../src/budget/prices.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.close());

const usage = { inputTokens: 0, outputTokens: 0, cachedTokens: 0, reasoningTokens: 0 };

describe('prices', () => {
  it('a published price is exact, and cached tokens cost their own rate', async () => {
    const price = await priceOf(database.sql, { model: 'gpt-4o-mini' });
    expect(price).toMatchObject({ source: 'genai-prices', dearestInputUsdPerMtok: '0.15' });
    // 800 * 0.15 + 200 * 0.075 + 100 * 0.6 USD per million tokens
    const cost = costOfUsage(price, {
      ...usage,
      inputTokens: 1000,
      cachedTokens: 200,
      outputTokens: 100,
    });
    expect(cost).toBe(195_000n);
  });

  it('a hold uses the highest rate that could apply, cache writes and tiers included', () => {
    const sonnet = publishedPrice({ model: 'claude-sonnet-4-5' });
    if (sonnet === undefined) throw new Error('claude-sonnet-4-5 has no published price');
    expect(sonnet.dearestInputUsdPerMtok).toBe('7.5');
    expect(sonnet.dearestOutputUsdPerMtok).toBe('22.5');
    const bound = estimateCost(sonnet, { inputTokens: 300_000, maxOutputTokens: 1000 });
    for (const inputTokens of [1, 200_000, 200_001, 300_000]) {
      const cost = costOfUsage(sonnet, { ...usage, inputTokens, outputTokens: 1000 });
      expect(cost).toBeLessThanOrEqual(bound);
    }
  });

  it('a tier applies above its start, not at its start', () => {
    const price = publishedPrice({ model: 'gemini-2.5-pro' });
    if (price === undefined) throw new Error('gemini-2.5-pro has no published price');
    expect(costOfUsage(price, { ...usage, inputTokens: 200_000 })).toBe(250_000_000n);
    expect(costOfUsage(price, { ...usage, inputTokens: 200_001 })).toBe(500_002_500n);
  });

  it('the host of the provider selects the price; an unknown host is priced by the name of the model', () => {
    const groq = publishedPrice({
      model: 'llama-3.1-8b-instant',
      baseUrl: 'https://api.groq.com/openai/v1',
    });
    expect(groq?.input.usdPerMtok).toBe('0.05');
    const proxy = publishedPrice({ model: 'gpt-4o-mini', baseUrl: 'http://127.0.0.1:9/v1' });
    expect(proxy?.input.usdPerMtok).toBe('0.15');
  });

  it("the operator's newest valid price takes precedence over the published one", async () => {
    await database.sql`
      insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok) values
        ('gpt-4.1', '2020-01-01', 9, 9), ('gpt-4.1', '2021-01-01', 0.1230, 0.4560), ('gpt-4.1', '2999-01-01', 7, 7)`;
    const price = await priceOf(database.sql, { model: 'gpt-4.1' });
    expect(price).toMatchObject({
      source: 'operator',
      input: { usdPerMtok: '0.123' },
      output: { usdPerMtok: '0.456' },
    });
  });

  it('a model without a price is refused with an error that names the model and the fix', async () => {
    await expect(priceOf(database.sql, { model: "my-o'model" })).rejects.toMatchObject({
      code: 'model_unpriced',
      details: { class: 'fatal' },
      message: expect.stringMatching(/my-o'model.*insert into llm_prices.*'my-o''model'/s),
    });
  });
});
