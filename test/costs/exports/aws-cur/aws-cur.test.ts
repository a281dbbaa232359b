import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curFile } from './file.ts';
import { exactSum } from '../exact-sum.ts';
import { openBench } from '../../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../../handlers/handler-bench.ts';

const sample = '../shared/data/aws_cur/aws_cur_legacy_anonymous_dev.csv';
const short = '../shared/data/aws_cur/koku_test_cur.csv';
const absent = existsSync(sample) ? '' : ` (skipped: ${sample} is not here)`;

let bench: HandlerBench;

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

/** Ingests these rows and returns the named columns of each, in the order of the file. */
async function stored(
  rows: readonly Readonly<Record<string, string>>[],
  ...columns: readonly string[]
): Promise<unknown[]> {
  const tenantId = await bench.addTenant();
  const result = await bench.ingest(tenantId, await bench.file(`${tenantId}.csv`, curFile(rows)));
  expect(result).toMatchObject({ rows: rows.length, errors: 0 });
  const found = await bench.test.sql`
    select ${bench.test.sql([...columns])} from cost_records
    where tenant_id = ${tenantId} order by line`;
  return found.map((row) => columns.map((column): unknown => row[column]));
}

describe('the real legacy CUR', () => {
  const parsed = async (path: string): Promise<Record<string, string>[]> =>
    parse(await readFile(path), { columns: true, relax_column_count: true });

  it.skipIf(absent !== '')(
    `keeps all 801 rows, repeating line-item ids included, and their exact unblended sum${absent}`,
    async () => {
      const tenant = await bench.addTenant();
      const rows = await parsed(sample);
      expect(rows).toHaveLength(801);
      expect(new Set(rows.map((row) => row['identity/LineItemId'])).size).toBe(360);
      const sum = (name: string): string => exactSum(rows.map((row) => row[name] || '0'));
      const billedCost = sum('lineItem/UnblendedCost');
      const result = await bench.ingest(tenant, sample);
      expect(result).toMatchObject({
        rows: 801,
        errors: 0,
        billedCost: [{ currency: 'USD', rows: 801, billedCost }],
        deliveries: [
          { source: 'AWS/123412340534', billingPeriod: '2023-11-01', rows: 801, outcome: 'added' },
        ],
      });
      const [found] = await bench.test.sql`
        select count(*)::int as rows, trim_scale(sum(billed_cost))::text as billed,
               trim_scale(sum(effective_cost))::text as effective,
               trim_scale(sum(list_cost))::text as list, count(distinct service_name)::int as services,
               count(distinct charge_category)::int as categories
        from cost_records where tenant_id = ${tenant}`;
      expect(found).toEqual({
        rows: 801,
        billed: billedCost,
        effective: billedCost,
        list: sum('pricing/publicOnDemandCost'),
        services: 13,
        categories: 1,
      });
      const [upload] = await bench.test.sql`
        select format, state from ingest_uploads where tenant_id = ${tenant}`;
      expect(upload).toEqual({ format: 'aws-cur', state: 'ingested' });
    },
  );

  it.skipIf(absent !== '')(
    `that lacks a field in every row is refused by the line, and read once mended${absent}`,
    async () => {
      const tenant = await bench.addTenant();
      await expect(bench.ingest(tenant, short)).rejects.toMatchObject({
        code: 'no_valid_row',
        message: expect.stringMatching(
          /none of the 19 rows of koku_test_cur.csv .* line 2: 130 fields where the header has 131/,
        ),
      });
      const lines = (await readFile(short, 'utf8')).trimEnd().split('\n');
      const mended = lines.map((line, index) => (index === 0 ? line : `${line},`)).join('\n');
      const result = await bench.ingest(tenant, await bench.file('mended.csv', mended));
      const rows = await parsed(short);
      expect(result).toMatchObject({
        rows: 19,
        errors: 0,
        billedCost: [
          { billedCost: exactSum(rows.map((row) => row['lineItem/UnblendedCost'] ?? '')) },
        ],
      });
    },
  );
});

describe('a line of the CUR', () => {
  it('is stored in the right columns', async () => {
    const tenantId = await bench.addTenant();
    await bench.ingest(tenantId, await bench.file('one.csv', curFile([{}])));
    const [row] = await bench.test.sql`select * from cost_records where tenant_id = ${tenantId}`;
    expect(row).toMatchObject({
      line: '2',
      provider_name: 'AWS',
      publisher_name: 'Amazon Web Services, Inc.',
      billing_account_id: '123456789012',
      sub_account_id: '210987654321',
      service_name: 'Amazon Simple Storage Service',
      region_id: 'eu-west-1',
      region_name: 'EU (Ireland)',
      resource_id: 'arn:aws:s3:::bucket',
      charge_category: 'Usage',
      charge_frequency: 'Usage-Based',
      charge_description: 'a charge',
      charge_period_start: new Date('2024-09-03T00:00:00Z'),
      charge_period_end: new Date('2024-09-04T00:00:00Z'),
      billing_currency: 'USD',
      billed_cost: '1.25',
      effective_cost: '1.25',
      list_cost: '1.5',
      consumed_quantity: '3.0',
      consumed_unit: 'GB',
      sku_id: 'SKU1',
      commitment_discount_id: null,
      commitment_discount_status: null,
      tags: {},
    });
  });

  it('is named by its product code where it has no product name', async () => {
    expect(await stored([{ 'product/ProductName': '' }], 'service_name')).toEqual([['AmazonS3']]);
  });

  it.each([
    ['Usage', 'Usage', 'Usage-Based'],
    ['Tax', 'Tax', null],
    ['Credit', 'Credit', null],
    ['Refund', 'Adjustment', 'One-Time'],
    ['Fee', 'Purchase', 'One-Time'],
    ['RIFee', 'Purchase', 'Recurring'],
    ['EdpDiscount', 'Usage', null],
    ['SomethingNew', 'SomethingNew', null],
  ])('of type %s is a %s', async (type, category, frequency) => {
    const row = { 'lineItem/LineItemType': type };
    expect(await stored([row], 'charge_category', 'charge_frequency')).toEqual([
      [category, frequency],
    ]);
  });

  it('has the tags of its columns, including those that differ in case and __proto__', async () => {
    const row = {
      'resourceTags/user:team': '"a ""b"", c"',
      'resourceTags/user:Team': 'NULL',
      'resourceTags/__proto__': 'p',
    };
    const tags = { 'user:team': 'a "b", c' };
    Object.defineProperty(tags, '__proto__', { value: 'p', enumerable: true });
    expect(JSON.stringify(await stored([row], 'tags'))).toBe(
      JSON.stringify([[{ ['__proto__']: 'p', ...tags }]]),
    );
  });

  it('with 1e-18, a negative cost, EUR and a quoted "NULL" is stored unchanged', async () => {
    const rows = [
      { 'lineItem/UnblendedCost': '1e-18' },
      { 'lineItem/UnblendedCost': '-2.50' },
      { 'lineItem/CurrencyCode': 'EUR', 'lineItem/ResourceId': '"NULL"' },
      { 'lineItem/ResourceId': 'NULL' },
    ];
    expect(await stored(rows, 'billed_cost', 'billing_currency', 'resource_id')).toEqual([
      ['0.000000000000000001', 'USD', 'arn:aws:s3:::bucket'],
      ['-2.50', 'USD', 'arn:aws:s3:::bucket'],
      ['1.25', 'EUR', 'NULL'],
      ['1.25', 'USD', null],
    ]);
  });
});

describe('the effective cost', () => {
  const plan = 'savingsPlan/SavingsPlanEffectiveCost';
  const commitment = {
    'savingsPlan/TotalCommitmentToDate': '10.00',
    'savingsPlan/UsedCommitment': '9.999999999999999999',
  };
  const unused = {
    'reservation/UnusedAmortizedUpfrontFeeForBillingPeriod': '1E-7',
    'reservation/UnusedRecurringFee': '0.2',
  };
  const reservation = { 'reservation/ReservationARN': 'arn:ri' };
  it.each([
    ['SavingsPlanCoveredUsage', { [plan]: '0.75' }, '0.75', 'Used'],
    ['SavingsPlanCoveredUsage', {}, '1.25', 'Used'],
    ['SavingsPlanRecurringFee', commitment, '0.000000000000000001', 'Unused'],
    ['SavingsPlanNegation', { 'lineItem/UnblendedCost': '-1.25' }, '0', null],
    ['SavingsPlanUpfrontFee', {}, '0', null],
    ['DiscountedUsage', { 'reservation/EffectiveCost': '0.5' }, '0.5', 'Used'],
    ['RIFee', unused, '0.2000001', 'Unused'],
    ['RIFee', {}, '1.25', 'Unused'],
    ['Fee', reservation, '0', null],
    ['Fee', {}, '1.25', null],
    ['Credit', { 'lineItem/UnblendedCost': '-4E-10' }, '-0.0000000004', null],
  ])('of a %s with %o is %s', async (type, values, cost, status) => {
    const row = { 'lineItem/LineItemType': type, ...values };
    const [found] = await stored([row], 'effective_cost', 'commitment_discount_status');
    expect(found).toEqual([expect.stringMatching(/^-?\d/), status]);
    const [effective] = Array.isArray(found) ? found : [];
    expect(exactSum([String(effective)])).toBe(exactSum([cost]));
  });

  it('that cannot be read is reported with the column that it comes from', async () => {
    const tenantId = await bench.addTenant();
    const rows = [{}, { 'lineItem/LineItemType': 'SavingsPlanCoveredUsage', [plan]: 'x' }];
    await bench.ingest(tenantId, await bench.file('plan.csv', curFile(rows)));
    const faults = await bench.test.sql`
      select line::int, column_name from ingest_errors where tenant_id = ${tenantId}`;
    expect([...faults]).toEqual([{ line: 3, column_name: plan }]);
  });
});
