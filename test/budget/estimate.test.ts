/** A hold is the worst case of one request: what can be billed is never more, and it is the bill of some usage. */
import { describe, expect, it } from 'vitest';
import { billOf, estimateCost } from '../../src/budget/bill.ts';
import type { CostBound } from '../../src/budget/bill.ts';
import type { PinnedPrice } from '../../src/budget/pinned-price.ts';
import { publishedPrice } from '../../src/budget/prices/published.ts';
import type { UsageClass } from '../../src/budget/usage-classes.ts';

function published(model: string): PinnedPrice {
  const price = publishedPrice({ model });
  if (price === undefined) throw new Error(`${model} has no published price`);
  return price;
}

/** Long requests are cheaper per token, those in the middle dearest. */
const volumeDiscount: PinnedPrice = {
  source: 'operator',
  model: 'bulk',
  rates: {
    input: {
      usd: '2',
      tiers: [
        { aboveInputTokens: 1000, usd: '3' },
        { aboveInputTokens: 5000, usd: '0.5' },
      ],
    },
    output: { usd: '4', tiers: [{ aboveInputTokens: 5000, usd: '9' }] },
    request: { usd: '1' },
  },
};

const prices: readonly PinnedPrice[] = [
  volumeDiscount,
  ...[
    'gpt-4o-mini',
    'gpt-5.6-sol',
    'claude-sonnet-4-5',
    'gemini-2.5-pro',
    'gemini-2.5-flash',
    'gpt-audio',
  ].map(published),
];

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe('a hold', () => {
  it('covers every usage within its bound, of every class that it names, at its factor', () => {
    const random = seeded(7);
    const upTo = (most: number) => Math.floor(random() * (most + 1));
    for (let round = 0; round < 3000; round += 1) {
      const price = prices[round % prices.length] ?? volumeDiscount;
      const inputClasses: UsageClass[] = ['input', 'cache_read', 'cache_write', 'input_audio'];
      const outputClasses: UsageClass[] = ['output', 'reasoning', 'output_audio'];
      const bound: CostBound = {
        inputTokens: upTo(random() < 0.5 ? 8000 : 400_000),
        maxOutputTokens: upTo(4000),
        inputClasses: inputClasses.slice(0, 1 + upTo(3)),
        outputClasses: outputClasses.slice(0, 1 + upTo(2)),
        factor: random() < 0.5 ? '1' : '2.5',
      };
      const counts: Partial<Record<UsageClass, number>> = {};
      const spread = (total: number, classes: readonly UsageClass[] = []) => {
        let left = upTo(total);
        for (const name of classes) {
          counts[name] = upTo(left);
          left -= counts[name];
        }
      };
      spread(bound.inputTokens, bound.inputClasses);
      spread(bound.maxOutputTokens, bound.outputClasses);
      const { costNanoUsd } = billOf(price, counts, bound.factor);
      const hold = estimateCost(price, bound);
      expect({ counts, bound, price: price.model, covered: costNanoUsd <= hold }).toMatchObject({
        covered: true,
      });
    }
  });

  it('counts no rate of a class that the request cannot have', () => {
    const sonnet = published('claude-sonnet-4-5');
    const bound = { inputTokens: 1_000, maxOutputTokens: 100 };
    const unmarked = { ...bound, inputClasses: ['input', 'cache_read'] } as const;
    expect(estimateCost(sonnet, unmarked)).toBe(4_500_000n);
    expect(estimateCost(sonnet, bound)).toBe(5_250_000n);
    const audio = published('gpt-audio');
    const text = { ...bound, outputClasses: ['output', 'reasoning'] } as const;
    expect(estimateCost(audio, text)).toBe(3_500_000n);
    expect(estimateCost(audio, bound)).toBe(8_900_000n);
  });

  it('counts a tier for both input and output where the request reaches it', () => {
    const long = (usd: string, above: string) => ({
      usd,
      tiers: [{ aboveInputTokens: 272_000, usd: above }],
    });
    const rates = { input: long('5', '10'), output: long('30', '45') };
    const of = (inputTokens: number) =>
      estimateCost({ source: 't', model: 'long', rates }, { inputTokens, maxOutputTokens: 1000 });
    // 272,000 * 5 + 1,000 * 30, then 272,001 * 10 + 1,000 * 45 USD per million tokens
    expect(of(272_000)).toBe(1_390_000_000n);
    expect(of(272_001)).toBe(2_765_010_000n);
  });

  it('of a price with a discount for volume is the dearest usage below it, not every rate at once', () => {
    const of = (inputTokens: number, maxOutputTokens: number) =>
      estimateCost(volumeDiscount, { inputTokens, maxOutputTokens });
    // 5,000 tokens at 3 USD cost more than 6,000 at 0.50 USD: 0.015 + 0.001
    expect(of(6000, 0)).toBe(16_000_000n);
    // 1,000 output tokens at 9 USD: 6,000 * 0.5 + 9,000, or 5,000 * 3 + 4,000
    expect(of(6000, 1000)).toBe(20_000_000n);
    // 6,000 * 0.5 + 4,000 * 9 are more than 5,000 * 3 + 4,000 * 4
    expect(of(6000, 4000)).toBe(40_000_000n);
  });

  it('is multiplied by the factor of a service tier, except for fees', () => {
    const bound = { inputTokens: 1000, maxOutputTokens: 1000 };
    expect(estimateCost(volumeDiscount, bound)).toBe(7_000_000n);
    expect(estimateCost(volumeDiscount, { ...bound, factor: '2.5' })).toBe(16_000_000n);
  });
});
