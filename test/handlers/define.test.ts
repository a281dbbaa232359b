/** What defineHandler refuses of a program that no compiler has read. */
import { expect, it } from 'vitest';
import { z } from 'zod';
import { defineHandler } from '../../src/handlers/define.ts';

const whole = {
  type: 'report',
  timeoutMs: 1_000,
  maxAttempts: 3,
  payload: z.object({}),
  run: () => Promise.resolve(),
};

it.each([
  [{ giveUpAfterMs: -5 }, 'giveUpAfterMs must be a whole number of milliseconds from 1 to'],
  [{ giveUpAfterMs: 9e15 }, 'giveUpAfterMs must be a whole number of milliseconds from 1 to'],
  [{ giveUpAfterMs: Number.NaN }, 'giveUpAfterMs must be'],
  [{ onBudget: 'sometimes' }, "onBudget must be 'park' or 'fail'"],
  [{ isolation: 'none' }, "isolation must be 'shared' or 'exclusive'"],
  [{ run: undefined }, 'run must be a function'],
  [{ llm: null }, 'llm must be an object { fallbacks?, minOutputTokens? }'],
  [
    { llm: { fallback: [] } },
    'llm: there is no option "fallback"; use fallbacks or minOutputTokens',
  ],
  [{ llm: { fallbacks: {} } }, 'llm.fallbacks must be a list of at most 5 forms'],
  [
    { llm: { fallbacks: Array.from({ length: 6 }, () => ({ model: 'm' })) } },
    'llm.fallbacks must be a list of at most 5',
  ],
  [
    { llm: { fallbacks: ['m'] } },
    'llm.fallbacks[0] must be an object { model?, maxOutputTokens? }',
  ],
  [{ llm: { fallbacks: [{}] } }, 'llm.fallbacks[0] must name a model, a maxOutputTokens or both'],
  [{ llm: { fallbacks: [{ model: ' m' }] } }, 'llm.fallbacks[0].model: '],
  [{ llm: { fallbacks: [{ maxOutputTokens: 0 }] } }, 'llm.fallbacks[0].maxOutputTokens must be'],
  [{ llm: { minOutputTokens: '9' } }, 'llm.minOutputTokens must be a whole number of at least 1'],
  [
    { llm: { fallbacks: [{ maxOutputTokens: 9 }], minOutputTokens: 10 } },
    'llm.minOutputTokens is 10 and the cap of the last of llm.fallbacks 9; it must not be more',
  ],
  [{ payload: undefined }, 'payload must be a Standard Schema'],
  [{ payload: { month: 'string' } }, 'payload must be a Standard Schema'],
])('%o', (change, fault) => {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  const definition = { ...whole, ...change } as unknown as typeof whole;
  expect(() => defineHandler(definition)).toThrow(`handler "report": ${fault}`);
});
