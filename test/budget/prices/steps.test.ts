/** Prices over time: what the package publishes, and what a sync has to add to what is stored. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { calcPrice, findProvider } from '@pydantic/genai-prices';
import { describe, expect, it } from 'vitest';
import type { Rates } from '../../../src/budget/pinned-price.ts';
import { publishedModels, publishedProviders } from '../../../src/budget/prices/catalogue.ts';
import { completeRates } from '../../../src/budget/prices/published.ts';
import { always, missingSteps, ratesAt, sameRates } from '../../../src/budget/prices/steps.ts';
import type { PriceStep } from '../../../src/budget/prices/steps.ts';

describe('the published prices', () => {
  it('are of every provider that the package has', () => {
    const entry = createRequire(import.meta.url).resolve('@pydantic/genai-prices');
    const data = readFileSync(entry, 'utf8');
    const ids = [...data.matchAll(/\bid:\s?"([^"]+)"/g)].map(([, id = '']) => id);
    const providers = new Set(ids.filter((id) => findProvider({ providerId: id })?.id === id));
    expect([...providers].toSorted()).toEqual([...publishedProviders]);
  });

  it('are at any time what the package says', () => {
    const times = ['2020-01-01', '2025-06-10', '2026-08-17T00:00:00Z', '2026-11-30', '2027-01-01'];
    let compared = 0;
    const differing: unknown[] = [];
    for (const provider of publishedProviders) {
      for (const { model, steps } of publishedModels([provider])) {
        for (const timestamp of times.map((time) => new Date(time))) {
          const found = calcPrice({}, model, { providerId: provider, timestamp });
          if (found?.model.id !== model || steps.length === 0) continue;
          const rates = completeRates(model, found.model_price) ?? null;
          if (!sameRates(ratesAt(steps, timestamp), rates)) differing.push([provider, model]);
          compared += 1;
        }
      }
    }
    expect(differing).toEqual([]);
    expect(compared).toBeGreaterThan(5000);
  });

  it('have no steps where the time of day decides', () => {
    const deepseek = publishedModels(['deepseek']);
    const steps = (model: string) => deepseek.find((each) => each.model === model)?.steps;
    expect(steps('deepseek-v4-pro')).toEqual([]);
    expect(steps('deepseek-chat')).toEqual([]);
  });
});

/** The same numbers in every run. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe('the steps that are missing', () => {
  const lastDay = 30;
  const at = (day: number): Date => new Date(always.getTime() + day * 86_400_000);
  const ratesOf = (usd: number): Rates | null =>
    usd === 0 ? null : { input: { usd: String(usd) }, output: { usd: '1' } };

  it('make the price the published one from that time on, and change no earlier day without a date', () => {
    const random = randomNumbers(13);
    const faults: unknown[] = [];
    for (let round = 0; round < 3000; round += 1) {
      const steps = (count: number): PriceStep[] =>
        Array.from({ length: count }, () => ({
          validFrom: at(1 + random(lastDay)),
          rates: ratesOf(random(4)),
        }));
      const byTime = (list: PriceStep[]) =>
        list.toSorted((one, other) => one.validFrom.getTime() - other.validFrom.getTime());
      const stored = byTime([
        { validFrom: always, rates: ratesOf(1 + random(3)) },
        ...steps(random(4)),
      ]);
      const published = byTime([
        { validFrom: always, rates: ratesOf(random(4)) },
        ...steps(random(3)),
      ]);
      const from = at(1 + random(lastDay));
      const missing = missingSteps(stored, published, from);
      const all = [...stored, ...missing];
      const dated = published.filter(({ validFrom }) => validFrom > always);
      for (let day = 0; day <= lastDay + 1; day += 1) {
        const now = ratesAt(all, at(day));
        const said = ratesAt(published, at(day));
        const starts = dated.some(({ validFrom }) => validFrom.getTime() === at(day).getTime());
        if ((at(day) >= from || starts) && !sameRates(now, said)) faults.push([round, day]);
        const untouched = at(day) < from && dated.every(({ validFrom }) => validFrom > at(day));
        if (untouched && !sameRates(now, ratesAt(stored, at(day)))) faults.push([round, day]);
      }
      if (missingSteps(all, published, from).length > 0) faults.push([round, 'again']);
    }
    expect(faults).toEqual([]);
  });

  it('of a model without stored ones are the published ones', () => {
    const published = [
      { validFrom: always, rates: ratesOf(1) },
      { validFrom: at(3), rates: ratesOf(1) },
      { validFrom: at(5), rates: ratesOf(2) },
    ];
    expect(missingSteps([], published, at(4))).toEqual([published[0], published[2]]);
    expect(missingSteps([], [], at(4))).toEqual([]);
  });
});

describe('rates', () => {
  const input = { usd: '1.5', tiers: [{ aboveInputTokens: 10, usd: '2' }] };
  const rates: Rates = { input, output: { usd: '3' } };

  it('are the same however decimals are written, and differ by a class, a tier or a bound', () => {
    const rewritten = { usd: '01.50', tiers: [{ aboveInputTokens: 10, usd: '2.0' }] };
    expect(sameRates(rates, { output: { usd: '3.00' }, input: rewritten })).toBe(true);
    const others: (Rates | null)[] = [
      null,
      { ...rates, cache_read: { usd: '0' } },
      { ...rates, input: { usd: '1.5' } },
      { ...rates, input: { ...input, tiers: [{ aboveInputTokens: 11, usd: '2' }] } },
      { ...rates, input: { ...input, tiers: [{ aboveInputTokens: 10, usd: '2.1' }] } },
      { ...rates, output: { usd: '3.000000001' } },
    ];
    for (const other of others) {
      expect([sameRates(rates, other), sameRates(other, rates)]).toEqual([false, false]);
    }
  });
});
