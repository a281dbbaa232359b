/** Small FOCUS files for tests: a row is the defaults and what the test says, written verbatim. */

const defaults: Readonly<Record<string, string>> = {
  ProviderName: 'AWS',
  BillingAccountId: '"123456789012"',
  BillingCurrency: 'USD',
  BillingPeriodStart: '2024-09-01 00:00:00',
  BillingPeriodEnd: '2024-10-01 00:00:00',
  ChargePeriodStart: '2024-09-03 00:00:00',
  ChargePeriodEnd: '2024-09-04 00:00:00',
  ChargeCategory: 'Usage',
  ServiceName: 'Amazon Simple Storage Service',
  BilledCost: '1.25',
  EffectiveCost: '1.25',
  ResourceId: 'NULL',
  ChargeDescription: 'a charge',
  ChargeFrequency: 'Usage-Based',
  ConsumedQuantity: '3',
  Tags: 'NULL',
};

export const focusHeader: readonly string[] = Object.keys(defaults);

export function focusRow(values: Readonly<Record<string, string>> = {}): string {
  return focusHeader.map((name) => values[name] ?? defaults[name] ?? '').join(',');
}

export function focusFile(rows: readonly Readonly<Record<string, string>>[]): string {
  return `${[focusHeader.join(','), ...rows.map((row) => focusRow(row))].join('\n')}\n`;
}

/** With more columns, empty where a row does not have them. */
export function focusFileWith(
  more: readonly string[],
  rows: readonly Readonly<Record<string, string>>[],
): string {
  const lines = rows.map((row) =>
    [focusRow(row), ...more.map((name) => row[name] ?? '')].join(','),
  );
  return `${[[...focusHeader, ...more].join(','), ...lines].join('\n')}\n`;
}
