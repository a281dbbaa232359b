/** A published price that was stored as a version, when another model than the requested one answers. */
import { expect, it } from 'vitest';
import { formatUsd } from '../../../src/budget/money.ts';
import type { PinnedPrice } from '../../../src/budget/pinned-price.ts';
import { chargeOf } from '../../../src/llm/usage/charge.ts';
import { openAiUsage } from '../../../src/llm/usage/openai.ts';

const price: PinnedPrice = {
  source: 'genai-prices',
  model: 'gpt-4o-mini',
  version: '7',
  rates: { input: { usd: '100' }, output: { usd: '100' } },
};

/** For 1,000 input tokens of a call of gpt-4o-mini that this model answered. */
function chargedFor(served: string, pinned: PinnedPrice): string {
  const counts = { prompt_tokens: 1000, completion_tokens: 0, total_tokens: 1000 };
  const usage = openAiUsage({ model: served, usage: counts });
  if (usage === undefined) throw new Error('no usage');
  const { costNanoUsd } = chargeOf({
    price: pinned,
    holdNanoUsd: 0n,
    model: 'gpt-4o-mini',
    provider: 'openai',
    baseUrl: 'https://api.openai.com/v1/chat/completions',
    usage,
  });
  return formatUsd(costNanoUsd);
}

it('is charged like one of the package: a date is the same model, and another model has its own price', () => {
  expect(chargedFor('gpt-4o-mini-2024-07-18', price)).toBe('0.1');
  expect(chargedFor('gpt-4o', price)).toBe('0.0025');
});

it("an operator's price applies to whatever answers", () => {
  expect(chargedFor('gpt-4o', { ...price, source: 'operator' })).toBe('0.1');
});
