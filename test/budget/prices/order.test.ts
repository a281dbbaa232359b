/** Which of the prices of a model counts, and for whom. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { priceOf } from '../../../src/budget/prices/in-force.ts';
import { publishedPrice } from '../../../src/budget/prices/published.ts';
import { insertVersions } from '../../../src/budget/prices/versions.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { day, ratesOf, set } from './setting.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.close());

async function inputRate(
  model: string,
  query: { readonly tenantId?: string; readonly baseUrl?: string; readonly now?: Date } = {},
): Promise<string | undefined> {
  const price = await priceOf(database.sql, { tenantId: undefined, ...query, model });
  return price.rates.input?.usd;
}

const record = { by: 'test', reason: 'test' };
const groq = 'https://api.groq.com/openai/v1';

describe('the order of prices', () => {
  it("is the tenant's, the operator's, the stored published one, the package's; each for a provider first", async () => {
    const model = 'llama-3.1-8b-instant';
    const tenantId = await addTenant(database.sql);
    const other = await addTenant(database.sql);
    const query = { tenantId, baseUrl: groq };
    const published = publishedPrice({ model, baseUrl: groq });
    expect(published?.rates.input?.usd).toBe('0.05');

    await insertVersions(
      database.sql,
      [
        {
          source: 'genai-prices',
          tenantId: null,
          provider: 'groq',
          model,
          validFrom: day('2020-01-01'),
          rates: ratesOf('5'),
        },
      ],
      record,
    );
    const seen: (string | undefined)[] = [await inputRate(model, query)];
    await set(database.sql, model, '4');
    seen.push(await inputRate(model, query));
    await set(database.sql, model, '3', { provider: 'groq' });
    seen.push(await inputRate(model, query));
    await set(database.sql, model, '2', { tenantId });
    seen.push(await inputRate(model, query));
    await set(database.sql, model, '1', { tenantId, provider: 'groq' });
    seen.push(await inputRate(model, query));
    expect(seen).toEqual(['5', '4', '3', '2', '1']);

    // Of nobody else, and at no other provider.
    expect(await inputRate(model, { tenantId: other, baseUrl: groq })).toBe('3');
    expect(await inputRate(model, { baseUrl: groq })).toBe('3');
    expect(await inputRate(model, { tenantId, baseUrl: 'http://127.0.0.1:8000/v1' })).toBe('2');
    expect(await inputRate(model, { tenantId: other })).toBe('4');
    expect(await inputRate(`${model}-x`, query).catch((error: Error) => error.message)).toContain(
      'purser prices set',
    );
  });

  it('goes on to the next price where one was ended', async () => {
    const tenantId = await addTenant(database.sql);
    const published = await inputRate('gpt-4o-mini');
    await set(database.sql, 'gpt-4o-mini', '7');
    await set(database.sql, 'gpt-4o-mini', '8', { tenantId });
    expect(await inputRate('gpt-4o-mini', { tenantId })).toBe('8');
    await set(database.sql, 'gpt-4o-mini', null, { tenantId });
    expect(await inputRate('gpt-4o-mini', { tenantId })).toBe('7');
    await set(database.sql, 'gpt-4o-mini', null);
    expect(await inputRate('gpt-4o-mini', { tenantId })).toBe(published);
  });

  it('of a model that only a tenant has a price for is refused to all others', async () => {
    const tenantId = await addTenant(database.sql);
    await set(database.sql, 'house-model', '1', { tenantId });
    expect(await inputRate('house-model', { tenantId })).toBe('1');
    for (const other of [undefined, await addTenant(database.sql)]) {
      await expect(
        priceOf(database.sql, { tenantId: other, model: 'house-model' }),
      ).rejects.toMatchObject({ code: 'model_unpriced' });
    }
  });

  it('keeps the host of a server apart that no published price knows', async () => {
    await set(database.sql, 'house-model', '3', { provider: 'llm.example.com:8000' });
    const at = (host: string) => inputRate('house-model', { baseUrl: `https://${host}/v1` });
    expect(await at('llm.example.com:8000')).toBe('3');
    await expect(at('llm.example.com')).rejects.toMatchObject({ code: 'model_unpriced' });
  });
});

describe('a stored published price', () => {
  it('counts for every name of its model, with or without a base URL', async () => {
    await insertVersions(
      database.sql,
      [
        {
          source: 'genai-prices',
          tenantId: null,
          provider: 'anthropic',
          model: 'claude-haiku-4-5',
          validFrom: day('2020-01-01'),
          rates: ratesOf('11'),
        },
        {
          source: 'genai-prices',
          tenantId: null,
          provider: 'openai',
          model: 'gpt-4o',
          validFrom: day('2020-01-01'),
          rates: ratesOf('12'),
        },
      ],
      record,
    );
    const baseUrl = 'https://api.anthropic.com';
    expect(await inputRate('claude-haiku-4-5')).toBe('11');
    expect(await inputRate('claude-haiku-4-5-20251001', { baseUrl })).toBe('11');
    // Azure sells the models of OpenAI at their prices.
    const azure = await priceOf(database.sql, {
      tenantId: undefined,
      model: 'gpt-4o-2024-08-06',
      baseUrl: 'https://x.openai.azure.com/openai/v1',
    });
    expect(azure).toEqual({
      source: 'genai-prices',
      model: 'gpt-4o',
      provider: 'azure',
      version: expect.stringMatching(/^\d+$/),
      rates: ratesOf('12'),
    });
    // Another model, whose name begins alike.
    expect(await inputRate('gpt-4o-mini')).toBe('0.15');
  });

  it('goes on to count when the package has the model no longer, under its very name alone', async () => {
    const version = {
      source: 'genai-prices',
      tenantId: null,
      provider: 'groq',
      validFrom: day('2020-01-01'),
      rates: ratesOf('6'),
    } as const;
    // The second is an id of the package that no call is priced by: calls name it otherwise.
    await insertVersions(
      database.sql,
      [
        { ...version, model: 'withdrawn-model' },
        { ...version, model: 'gpt-oss-120b', provider: 'fireworks' },
      ],
      record,
    );
    expect(await inputRate('withdrawn-model', { baseUrl: groq })).toBe('6');
    for (const [model, baseUrl] of [
      ['withdrawn-model', 'https://api.openai.com/v1'],
      ['withdrawn-model-2', groq],
      ['gpt-oss-120b', 'https://api.fireworks.ai/inference/v1'],
    ] as const) {
      await expect(inputRate(model, { baseUrl })).rejects.toMatchObject({ code: 'model_unpriced' });
    }
  });
});
