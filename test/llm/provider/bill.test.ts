/** Whatever answers are lost, what the provider bills is charged (promise 4); bench/money.ts does it with 10,000 calls. */
import { expect, it } from 'vitest';
import { useProvider } from '../../support/llm-attempt.ts';
import { runFaultyCalls } from './faulty-calls.ts';

const fixture = useProvider();

it('spent and unknown cover the bill of a provider that fails one call in five, and equal it after resolution', async () => {
  const report = await runFaultyCalls({
    sql: fixture.database.sql,
    calls: 250,
    lanes: 4,
    faultShare: 0.2,
    seed: Date.now(),
    timeoutMs: 400,
  });
  expect(report).toMatchObject({ lostUsage: 0, chargedTwice: 0, reservedNanoUsd: 0n });
  const { spentNanoUsd, unknownNanoUsd, billNanoUsd } = report;
  expect(report.resolved).toBeGreaterThan(0);
  expect(spentNanoUsd).toBeLessThan(billNanoUsd);
  expect(spentNanoUsd + unknownNanoUsd).toBeGreaterThanOrEqual(billNanoUsd);
  expect(report.afterResolution.spentNanoUsd).toBe(billNanoUsd);
});
