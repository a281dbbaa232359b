/** Small legacy CUR files for tests: a row is the defaults and what the test says, written verbatim. */

const defaults: Readonly<Record<string, string>> = {
  'identity/LineItemId': 'aaaa',
  'bill/PayerAccountId': '123456789012',
  'bill/BillingPeriodStartDate': '2024-09-01T00:00:00.000Z',
  'lineItem/UsageAccountId': '210987654321',
  'lineItem/LineItemType': 'Usage',
  'lineItem/UsageStartDate': '2024-09-03T00:00:00.000Z',
  'lineItem/UsageEndDate': '2024-09-04T00:00:00.000Z',
  'lineItem/ProductCode': 'AmazonS3',
  'lineItem/ResourceId': 'arn:aws:s3:::bucket',
  'lineItem/UsageAmount': '3.0',
  'lineItem/CurrencyCode': 'USD',
  'lineItem/UnblendedCost': '1.25',
  'lineItem/LineItemDescription': 'a charge',
  'lineItem/LegalEntity': '"Amazon Web Services, Inc."',
  'product/ProductName': 'Amazon Simple Storage Service',
  'product/location': 'EU (Ireland)',
  'product/regionCode': 'eu-west-1',
  'product/sku': 'SKU1',
  'pricing/publicOnDemandCost': '1.5',
  'pricing/unit': 'GB',
  'reservation/EffectiveCost': '',
  'reservation/ReservationARN': '',
  'reservation/UnusedAmortizedUpfrontFeeForBillingPeriod': '',
  'reservation/UnusedRecurringFee': '',
  'savingsPlan/TotalCommitmentToDate': '',
  'savingsPlan/SavingsPlanARN': '',
  'savingsPlan/UsedCommitment': '',
  'savingsPlan/SavingsPlanEffectiveCost': '',
  'resourceTags/user:team': '',
  'resourceTags/user:Team': '',
  'resourceTags/__proto__': '',
};

export const curHeader: readonly string[] = Object.keys(defaults);

export function curRow(values: Readonly<Record<string, string>> = {}): string {
  return curHeader.map((name) => values[name] ?? defaults[name] ?? '').join(',');
}

export function curFile(rows: readonly Readonly<Record<string, string>>[]): string {
  return `${[curHeader.join(','), ...rows.map((row) => curRow(row))].join('\n')}\n`;
}
