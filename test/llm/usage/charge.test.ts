/** What a call is charged for the usage that its provider reports. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { estimateCost } from '../../../src/budget/bill.ts';
import { formatUsd, parseUsd } from '../../../src/budget/money.ts';
import { publishedPrice } from '../../../src/budget/prices/published.ts';
import type { ProviderKind } from '../../../src/llm/protocol.ts';
import { anthropicUsage } from '../../../src/llm/usage/anthropic.ts';
import { chargeOf } from '../../../src/llm/usage/charge.ts';
import { googleUsage } from '../../../src/llm/usage/google.ts';
import { openAiUsage } from '../../../src/llm/usage/openai.ts';

const readers = { openai: openAiUsage, anthropic: anthropicUsage, google: googleUsage };
const homes = {
  openai: 'https://api.openai.com/v1',
  anthropic: 'https://api.anthropic.com/v1',
  google: 'https://generativelanguage.googleapis.com/v1beta',
};

/** The charge for a body in answer to a request for `model` under a hold of `holdUsd`. */
function charge(
  provider: ProviderKind,
  model: string,
  body: Readonly<Record<string, unknown>>,
  { baseUrl = homes[provider], holdUsd = '0' } = {},
) {
  const usage = readers[provider](body);
  const price = publishedPrice({ model, baseUrl });
  if (usage === undefined || price === undefined) throw new Error('no usage or no price');
  const holdNanoUsd = parseUsd(holdUsd);
  const { costNanoUsd, uncovered, items } = chargeOf({
    price,
    holdNanoUsd,
    model,
    provider,
    baseUrl,
    usage,
  });
  return { usd: formatUsd(costNanoUsd), uncovered, classes: items.map((item) => item.class) };
}

const expectedFile = join(import.meta.dirname, '../../../../shared/field/usage_expected.json');

interface Expected {
  readonly provider: string;
  readonly host?: string;
  readonly model?: string;
  readonly body: Readonly<Record<string, unknown>>;
  readonly usd?: string;
}

it.skipIf(!existsSync(expectedFile))(
  'bodies that were misread are charged their right cost',
  () => {
    const all: Expected[] = JSON.parse(readFileSync(expectedFile, 'utf8'));
    const charged = all.flatMap(({ provider, host, model, body, usd }) => {
      if (usd === undefined || model === undefined) return [];
      const kind: ProviderKind =
        provider === 'anthropic' || provider === 'google' ? provider : 'openai';
      const where = host === undefined ? {} : { baseUrl: `https://${host}/v1` };
      return [{ model, expected: usd, ...charge(kind, model, body, where) }];
    });
    expect(charged).toHaveLength(4);
    for (const { usd, expected, uncovered } of charged) {
      expect(usd).toBe(expected);
      expect(uncovered).toEqual([]);
    }
  },
);

const chat = (usage: object, rest: object = {}) => ({
  usage: { prompt_tokens: 1000, completion_tokens: 100, total_tokens: 1100, ...usage },
  ...rest,
});

describe('a charge', () => {
  it('has one item per class of usage', () => {
    const body = chat({
      prompt_tokens_details: { cached_tokens: 400 },
      completion_tokens_details: { reasoning_tokens: 60 },
    });
    expect(charge('openai', 'gpt-5-mini', body)).toMatchObject({
      // (600 x 0.25 + 400 x 0.025 + 100 x 2) / 1e6
      usd: '0.00036',
      classes: ['input', 'cache_read', 'output', 'reasoning'],
    });
  });

  it.each([
    ['responses', { input_tokens: 1000, output_tokens: 100, total_tokens: 1100 }],
    ['chat completions', { prompt_tokens: 1000, completion_tokens: 100, total_tokens: 1100 }],
  ])('reads the usage of %s', (_name, usage) => {
    expect(charge('openai', 'gpt-4o-mini', { usage }).usd).toBe('0.00021');
  });

  it('of an embedding has no output', () => {
    const body = { usage: { prompt_tokens: 1000, total_tokens: 1000 } };
    expect(charge('openai', 'text-embedding-3-small', body)).toMatchObject({
      usd: '0.00002',
      classes: ['input'],
    });
  });

  it('is that of the model that answered, when it is another', () => {
    const asked = charge('openai', 'gpt-4o-mini', chat({}, { model: 'gpt-4o-mini-2024-07-18' }));
    expect(asked).toMatchObject({ usd: '0.00021', uncovered: [] });
    const other = charge('openai', 'gpt-4o-mini', chat({}, { model: 'gpt-4o-2024-11-20' }));
    expect(other).toMatchObject({ usd: '0.0035', uncovered: [] });
  });

  it('is at least the hold where a model without a price answered', () => {
    const body = chat({}, { model: 'gpt-99' });
    expect(charge('openai', 'gpt-4o-mini', body, { holdUsd: '0.5' })).toMatchObject({
      usd: '0.5',
      uncovered: ['model gpt-99'],
      classes: ['input', 'output', 'uncovered'],
    });
  });

  it.each([
    ['openai', 'gpt-4o-mini', chat({}, { service_tier: 'default' }), '0.00021', []],
    ['openai', 'gpt-4o-mini', chat({}, { service_tier: 'flex' }), '0.000105', []],
    [
      'openai',
      'gpt-4o-mini',
      chat({}, { service_tier: 'priority' }),
      '0.000525',
      ['service tier priority'],
    ],
    [
      'anthropic',
      'claude-haiku-4-5',
      { usage: { input_tokens: 1000, output_tokens: 100, service_tier: 'batch' } },
      '0.00075',
      [],
    ],
    [
      'anthropic',
      'claude-sonnet-4-6',
      { usage: { input_tokens: 1000, output_tokens: 100, inference_geo: 'us' } },
      '0.00495',
      [],
    ],
    [
      'google',
      'gemini-2.5-flash',
      {
        usageMetadata: {
          promptTokenCount: 1000,
          totalTokenCount: 1100,
          trafficType: 'ON_DEMAND_FLEX',
        },
      },
      '0.000275',
      [],
    ],
  ] as const)(
    '%s %s: the service tier that answered sets its rates: %j',
    (kind, model, body, usd, uncovered) => {
      expect(charge(kind, model, body)).toMatchObject({ usd, uncovered });
    },
  );

  it('includes the fee of each web search', () => {
    const usage = {
      input_tokens: 1000,
      output_tokens: 100,
      server_tool_use: { web_search_requests: 2 },
    };
    expect(charge('anthropic', 'claude-haiku-4-5', { usage })).toMatchObject({
      usd: '0.0215',
      uncovered: [],
    });
    const searched = {
      output: [{ type: 'web_search_call' }, { type: 'message' }, { type: 'web_search_call' }],
      usage: { input_tokens: 1000, output_tokens: 100, total_tokens: 1100 },
    };
    expect(charge('openai', 'gpt-5-mini', searched)).toMatchObject({
      usd: '0.02045',
      uncovered: [],
    });
  });

  it('is at least the hold for a fee and for a medium that the price has no rate for', () => {
    const searched = {
      usageMetadata: { promptTokenCount: 10, candidatesTokenCount: 10, totalTokenCount: 20 },
      candidates: [{ groundingMetadata: { webSearchQueries: ['a', 'b'] } }],
    };
    expect(charge('google', 'gemini-2.5-flash', searched, { holdUsd: '0.1' })).toMatchObject({
      usd: '0.1',
      uncovered: ['web_search'],
    });
    const spoken = chat({ completion_tokens_details: { audio_tokens: 50 } });
    expect(charge('openai', 'gpt-4o-audio-preview', spoken, { holdUsd: '0.1' })).toMatchObject({
      usd: '0.1',
      uncovered: ['output_audio'],
    });
  });

  it('is what OpenRouter says that it charged, where that is more', () => {
    const baseUrl = 'https://openrouter.ai/api/v1';
    const body = chat({ cost: 0.01, is_byok: false });
    expect(charge('openai', 'openai/gpt-5-mini', body, { baseUrl })).toMatchObject({
      usd: '0.01',
      classes: ['input', 'output', 'provider_charge'],
    });
    // Another server's field of that name may be in another currency.
    expect(charge('openai', 'gpt-5-mini', body, { baseUrl: 'http://127.0.0.1:9/v1' }).usd).toBe(
      '0.00045',
    );
  });
});

describe('a hold', () => {
  it('does not use the rate of a tier that the request cannot reach', () => {
    const price = publishedPrice({ model: 'gemini-2.5-pro' });
    if (price === undefined) throw new Error('gemini-2.5-pro has no published price');
    expect(estimateCost(price, { inputTokens: 200_000, maxOutputTokens: 0 })).toBe(250_000_000n);
    expect(estimateCost(price, { inputTokens: 200_001, maxOutputTokens: 0 })).toBe(500_002_500n);
  });

  it('covers images where the model can answer with one, and the fee per request', () => {
    const image = publishedPrice({ model: 'gemini-2.5-flash-image' });
    const sonar = publishedPrice({ model: 'sonar', baseUrl: 'https://api.perplexity.ai' });
    if (image === undefined || sonar === undefined) throw new Error('no price');
    expect(estimateCost(image, { inputTokens: 0, maxOutputTokens: 1000 })).toBe(30_000_000n);
    expect(estimateCost(sonar, { inputTokens: 0, maxOutputTokens: 0 })).toBe(12_000_000n);
  });
});
