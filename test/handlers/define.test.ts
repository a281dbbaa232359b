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
  [{ payload: undefined }, 'payload must be a Standard Schema'],
  [{ payload: { month: 'string' } }, 'payload must be a Standard Schema'],
])('%o', (change, fault) => {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  const definition = { ...whole, ...change } as unknown as typeof whole;
  expect(() => defineHandler(definition)).toThrow(`handler "report": ${fault}`);
});
