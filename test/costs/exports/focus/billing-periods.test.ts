/** One billing period is one delivery, however its start is written. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { periodFault, readPeriodStart } from '../../../../src/costs/exports/source-key.ts';
import { openBench, storedFaults } from '../../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../../handlers/handler-bench.ts';
import { focusFile } from './file.ts';

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

const forms = [
  '2024-09-01T00:00:00Z',
  '2024-09-01T00:00:00+00:00',
  '2024-09-01 00:00:00',
  '2024-09-01',
  '2024-09-01T00:00:00+02:00',
  '2024-08-31T22:00:00Z',
  '2024-09-01T00:00:00+14:00',
  '2024-09-01T00:00:00-08:00',
  '2024-09-01T08:00:00Z',
  '2024-09-01T00:00:00-12:00',
];

it.each(forms)('%s is the period of 2024-09-01', (text) => {
  expect(readPeriodStart(text)).toEqual({ value: '2024-09-01' });
});

it.each([
  ['2024-09-01T13:00:00Z', '2024-09-01'],
  ['2024-09-16T00:00:00Z', '2024-09-16'],
  ['2024-08-31T00:00:00Z', '2024-08-31'],
  ['2024-09-02', '2024-09-02'],
  ['2025-12-31T23:00:00Z', '2026-01-01'],
])('%s is the period of %s', (text, value) => {
  expect(readPeriodStart(text)).toEqual({ value });
});

it.each([
  ['9999-12-31T23:00:00Z', 'AWS'],
  ['9999-12-31T12:00:00-02:00', 'Acme'],
])('%s rounds into the year 10000, and only its row is refused', async (text, ProviderName) => {
  const tenant = await bench.addTenant();
  const file = focusFile([{}, { BillingPeriodStart: text, ProviderName }, {}]);
  expect(await bench.ingest(tenant, await bench.file('10000.csv', file))).toMatchObject({
    rows: 2,
    errors: 1,
  });
  expect(await storedFaults(bench, tenant)).toEqual([
    {
      line: 3,
      column_name: 'BillingPeriodStart',
      reason: expect.stringContaining(`"${text}" is not a date and time`),
    },
  ]);
});

it('a newer file with another offset replaces the delivery, and no cost is counted twice', async () => {
  const tenant = await bench.addTenant();
  for (const [index, BillingPeriodStart] of forms.entries()) {
    const file = focusFile([{ BillingPeriodStart }]);
    const { deliveries } = await bench.ingest(tenant, await bench.file(`${index}.csv`, file));
    expect(deliveries).toMatchObject([{ outcome: index === 0 ? 'added' : 'replaced' }]);
  }
  const records = await bench.test.sql`
    select billed_cost from cost_records where tenant_id = ${tenant}`;
  expect(records).toHaveLength(1);
});

it('a period of another day is one of a provider that does not bill calendar months', () => {
  for (const name of ['AWS', 'Amazon Web Services', 'Microsoft', 'google cloud', 'OCI']) {
    expect(periodFault(name, '2024-09-16')).toMatch(/"2024-09-16" is not the start of a month/);
    expect(periodFault(name, '2024-09-01')).toBeUndefined();
  }
  for (const name of ['Snowflake', 'Ociana'])
    expect(periodFault(name, '2024-09-16')).toBeUndefined();
});
