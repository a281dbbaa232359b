/** AWS CUR 2.0, and Athena's names of the legacy CUR: the same rows as from the legacy CUR. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openBench } from '../../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../../handlers/handler-bench.ts';
import { curFile } from './file.ts';

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

/** Of the data dictionary of CUR 2.0. */
const names: Readonly<Record<string, string>> = {
  'identity/LineItemId': 'identity_line_item_id',
  'bill/PayerAccountId': 'bill_payer_account_id',
  'bill/BillingPeriodStartDate': 'bill_billing_period_start_date',
  'lineItem/UsageAccountId': 'line_item_usage_account_id',
  'lineItem/LineItemType': 'line_item_line_item_type',
  'lineItem/UsageStartDate': 'line_item_usage_start_date',
  'lineItem/UsageEndDate': 'line_item_usage_end_date',
  'lineItem/ProductCode': 'line_item_product_code',
  'lineItem/ResourceId': 'line_item_resource_id',
  'lineItem/UsageAmount': 'line_item_usage_amount',
  'lineItem/CurrencyCode': 'line_item_currency_code',
  'lineItem/UnblendedCost': 'line_item_unblended_cost',
  'lineItem/LineItemDescription': 'line_item_line_item_description',
  'lineItem/LegalEntity': 'line_item_legal_entity',
  'product/ProductName': 'product_product_name',
  'product/location': 'product_location',
  'product/regionCode': 'product_region_code',
  'product/sku': 'product_sku',
  'pricing/publicOnDemandCost': 'pricing_public_on_demand_cost',
  'pricing/unit': 'pricing_unit',
  'reservation/EffectiveCost': 'reservation_effective_cost',
  'reservation/ReservationARN': 'reservation_reservation_a_r_n',
  'reservation/UnusedAmortizedUpfrontFeeForBillingPeriod':
    'reservation_unused_amortized_upfront_fee_for_billing_period',
  'reservation/UnusedRecurringFee': 'reservation_unused_recurring_fee',
  'savingsPlan/TotalCommitmentToDate': 'savings_plan_total_commitment_to_date',
  'savingsPlan/SavingsPlanARN': 'savings_plan_savings_plan_a_r_n',
  'savingsPlan/UsedCommitment': 'savings_plan_used_commitment',
  'savingsPlan/SavingsPlanEffectiveCost': 'savings_plan_savings_plan_effective_cost',
  'resourceTags/user:team': 'resource_tags_user_team',
  'resourceTags/user:Team': 'resource_tags_user_unit',
  'resourceTags/__proto__': 'resource_tags___proto__',
};

const rows = [
  { 'resourceTags/user:team': 'red' },
  {
    'lineItem/LineItemType': 'SavingsPlanCoveredUsage',
    'savingsPlan/SavingsPlanEffectiveCost': '0.9',
  },
  {
    'lineItem/LineItemType': 'RIFee',
    'reservation/UnusedRecurringFee': '0.5',
    'reservation/ReservationARN': 'arn:r',
  },
];

const storedAs = (tenantId: string) =>
  bench.test.sql`
    select to_jsonb(r) - '{id,tenant_id,delivery_id,tags}'::text[] as row, tags from cost_records r
    where tenant_id = ${tenantId} order by line`;

it('gives the rows of the legacy CUR under the names of Athena', async () => {
  const [legacy, athena] = [await bench.addTenant(), await bench.addTenant()];
  const file = curFile(rows);
  const [header = '', ...lines] = file.split('\n');
  const renamed = header.split(',').map((name) => names[name] ?? name);
  expect(renamed.filter((name) => name.includes('/'))).toEqual([]);
  await bench.ingest(legacy, await bench.file('legacy.csv', file));
  const path = await bench.file('athena.csv', [renamed.join(','), ...lines].join('\n'));
  expect(await bench.ingest(athena, path)).toMatchObject({ rows: 3, errors: 0, warnings: 0 });
  const [expected, found] = [await storedAs(legacy), await storedAs(athena)];
  expect(found.map(({ row }) => row)).toEqual(expected.map(({ row }) => row));
  expect(found.map(({ tags }) => tags)).toEqual([{ user_team: 'red' }, {}, {}]);
  const [upload] = await bench.test.sql`
    select format from ingest_uploads where tenant_id = ${athena}`;
  expect(upload).toEqual({ format: 'aws-cur-2' });
});

it('reads product and tags of CUR 2.0 from their JSON objects', async () => {
  const tenantId = await bench.addTenant();
  const header = [
    'bill_payer_account_id',
    'bill_billing_period_start_date',
    'line_item_line_item_type',
    'line_item_usage_start_date',
    'line_item_usage_end_date',
    'line_item_currency_code',
    'line_item_unblended_cost',
    'line_item_product_code',
    'product',
    'resource_tags',
  ];
  const common =
    '123456789012,2024-09-01 00:00:00.000,Usage,2024-09-03 00:00:00.000,2024-09-04 00:00:00.000,USD';
  const line = (cost: string, product: string, tags: string): string =>
    [
      common,
      cost,
      'AmazonS3',
      `"${product.replaceAll('"', '""')}"`,
      `"${tags.replaceAll('"', '""')}"`,
    ].join(',');
  const file = [
    header.join(','),
    line(
      '1',
      '{"product_name":"Amazon Simple Storage Service","region":"us-east-1"}',
      '{"user_team":"red"}',
    ),
    line('2', '{}', '{}'),
    line('3', 'not json', 'not json'),
  ].join('\n');
  const result = await bench.ingest(tenantId, await bench.file('cur2.csv', file));
  expect(result).toMatchObject({
    rows: 3,
    errors: 0,
    warnings: 1,
    billedCost: [{ billedCost: '6' }],
  });
  const stored = await bench.test.sql`
    select service_name, tags from cost_records where tenant_id = ${tenantId} order by line`;
  expect([...stored]).toEqual([
    { service_name: 'Amazon Simple Storage Service', tags: { user_team: 'red' } },
    { service_name: 'AmazonS3', tags: {} },
    { service_name: 'AmazonS3', tags: {} },
  ]);
});
