/**
 * What was spent in a month as a FOCUS 1.2 file, which `purser ingest --tenant-column SubAccountId` takes: one row per
 * UTC day, tenant, job type and model. Only settled cost is billed cost: holds and unknown cost are in no row.
 */
import { csvRecord } from './csv-text.ts';
import type { DailyCost } from './daily.ts';

type Value = string | number | null;

const providerNames: Readonly<Record<string, string>> = {
  openai: 'OpenAI',
  anthropic: 'Anthropic',
  google: 'Google',
};

/** The source of the rows: another month, or the same month again, replaces no bill of a cloud provider. */
const billingAccount = { id: 'purser', name: 'Purser' };
/** The provider's invoice is the tenant's and not the platform's. */
const ownAccount = { id: 'purser-own-keys', name: 'Own keys of tenants' };

const isOwn = ({ providerKey }: DailyCost): boolean => /^own(:|$)/.test(providerKey);
const accountOf = (cost: DailyCost) => (isOwn(cost) ? ownAccount : billingAccount);

interface Period {
  readonly start: string;
  readonly end: string;
}

/** In the order of the specification. Unit prices are left out: a row sums classes of tokens with different rates. */
const columns: Readonly<Record<string, (cost: DailyCost, month: Period) => Value>> = {
  BilledCost: ({ spentUsd }) => spentUsd,
  BillingAccountId: (cost) => accountOf(cost).id,
  BillingAccountName: (cost) => accountOf(cost).name,
  BillingCurrency: () => 'USD',
  BillingPeriodEnd: (_, { end }) => end,
  BillingPeriodStart: (_, { start }) => start,
  ChargeCategory: () => 'Usage',
  ChargeClass: () => null,
  ChargeDescription: ({ model }) => `LLM calls of ${model === '' ? 'a deleted tenant' : model}`,
  ChargeFrequency: () => 'Usage-Based',
  ChargePeriodEnd: ({ day }) => dayAfter(day),
  ChargePeriodStart: ({ day }) => `${day}T00:00:00Z`,
  ConsumedQuantity: ({ tokens }) => tokens,
  ConsumedUnit: () => 'Tokens',
  ContractedCost: ({ spentUsd }) => spentUsd,
  ContractedUnitPrice: () => null,
  EffectiveCost: ({ spentUsd }) => spentUsd,
  InvoiceIssuerName: (cost) => providerOf(cost),
  ListCost: ({ spentUsd }) => spentUsd,
  ListUnitPrice: () => null,
  PricingCategory: () => 'Standard',
  PricingCurrency: () => 'USD',
  PricingQuantity: ({ tokens }) => tokens,
  PricingUnit: () => 'Tokens',
  ProviderName: (cost) => providerOf(cost),
  PublisherName: (cost) => providerOf(cost),
  RegionId: () => null,
  RegionName: () => null,
  ResourceId: ({ jobType }) => textOrNull(jobType),
  ResourceName: ({ jobType }) => textOrNull(jobType),
  ResourceType: ({ jobType }) => (jobType === '' ? null : 'Job type'),
  ServiceCategory: () => 'AI and Machine Learning',
  ServiceName: (cost) => `${providerOf(cost)} API`,
  ServiceSubcategory: () => 'Generative AI',
  SkuId: ({ model }) => textOrNull(model),
  SkuPriceId: () => null,
  SubAccountId: ({ tenantId }) => tenantId,
  SubAccountName: ({ tenantId }) => tenantId,
  // Nothing that grows with a later export: a charge is found again by its texts.
  Tags: (cost) =>
    JSON.stringify({
      'purser:job_type': cost.jobType,
      'purser:model': cost.model,
      ...(isOwn(cost) ? { 'purser:provider_key': cost.providerKey } : {}),
    }),
};

/**
 * The header and the records. Texts are as they are in the tables, because an ingestion compares ids: such a file is
 * not for a spreadsheet. `month` is the first day of the month.
 */
export function focusCsv(month: string, days: readonly DailyCost[]): string[] {
  const period = { start: `${month}T00:00:00Z`, end: monthAfter(month) };
  const values = Object.values(columns);
  return [
    csvRecord(Object.keys(columns)),
    ...days.map((cost) => csvRecord(values.map((valueOf) => valueOf(cost, period)))),
  ];
}

function providerOf({ provider }: DailyCost): string {
  return providerNames[provider] ?? (provider === '' ? 'unknown' : provider);
}

const textOrNull = (text: string): string | null => (text === '' ? null : text);

function dayAfter(day: string): string {
  return isoSeconds(new Date(Date.parse(`${day}T00:00:00Z`) + 86_400_000));
}

function monthAfter(month: string): string {
  const start = new Date(`${month}T00:00:00Z`);
  return isoSeconds(new Date(Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1, 1)));
}

const isoSeconds = (date: Date): string => date.toISOString().replace('.000Z', 'Z');
