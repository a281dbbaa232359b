/** Which names of models have a published price. */
import { describe, expect, it } from 'vitest';
import { publishedPrice } from '../../../src/budget/prices/published.ts';

describe('a price', () => {
  it.each([
    ['deepseek-r1-distill-llama-70b', undefined],
    ['gpt-4.5-preview-tuned', undefined],
    ['claude-haiku-4-5-turbo', undefined],
    ['gemini-2.5-pro-live', undefined],
    ['gpt-4o-search-preview', 'https://api.openai.com/v1'],
    ['sonar-pro-search', 'https://api.perplexity.ai'],
    ['sonar-deep-research', 'https://api.perplexity.ai'],
  ])(
    'of a model that only resembles a known name, or bills more than tokens, is not known: %s',
    (model, baseUrl) => {
      expect(
        publishedPrice({ model, ...(baseUrl === undefined ? {} : { baseUrl }) }),
      ).toBeUndefined();
    },
  );

  it.each([
    ['claude-haiku-4-5-20251001', 'claude-haiku-4-5'],
    ['claude-sonnet-4-20250514', 'claude-sonnet-4-0'],
    ['o4-mini-2025-04-16', 'o4-mini'],
    ['gpt-5.6-sol-2026-07-01', 'gpt-5.6-sol'],
    ['gemini-2.5-pro-preview-05-06', 'gemini-2.5-pro'],
    ['magistral-medium-latest', 'magistral-medium'],
    ['Claude-Haiku-4-5', 'claude-haiku-4-5'],
  ])('of a version of a known model is that of the model: %s', (model, id) => {
    expect(publishedPrice({ model })?.model).toBe(id);
  });

  it('of a distilled model is its own at a seller that has one', () => {
    const baseUrl = 'https://api.groq.com/openai/v1';
    expect(
      publishedPrice({ model: 'deepseek-r1-distill-llama-70b', baseUrl })?.rates.output?.usd,
    ).toBe('0.99');
  });
});
