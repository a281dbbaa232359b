/**
 * The legacy AWS Cost and Usage Report as CSV, mapped onto the columns of FOCUS. Rules: the FinOps Foundation's
 * focus_converters (conversion_configs/aws), except that BilledCost is the unblended cost and a credit is a Credit.
 */
import { column, repeating, required } from './format.ts';
import type { Combined, CostFormat, SourceColumn } from './format.ts';
import { readAccountKey, readKey, readPeriodStart } from './source-key.ts';
import {
  readAccountId,
  readCurrency,
  readDecimal,
  readTags,
  readText,
  readTimestamp,
  sumDecimals,
} from './values.ts';

const lineItemType = 'lineItem/LineItemType';

/** By lineItem/LineItemType. */
const categories: ReadonlyMap<string, string> = new Map([
  ...['Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage', 'SavingsPlanNegation'].map(usage),
  ...['BundledDiscount', 'Discount', 'PrivateRateDiscount', 'EdpDiscount'].map(usage),
  ...['Fee', 'RIFee', 'SavingsPlanUpfrontFee', 'SavingsPlanRecurringFee'].map(
    (type) => [type, 'Purchase'] as const,
  ),
  ['Tax', 'Tax'],
  ['Credit', 'Credit'],
  ['Refund', 'Adjustment'],
]);

function usage(type: string): readonly [string, string] {
  return [type, 'Usage'];
}

const frequencies: ReadonlyMap<string, string> = new Map([
  ...['Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage'].map(
    (type) => [type, 'Usage-Based'] as const,
  ),
  ...['RIFee', 'SavingsPlanRecurringFee'].map((type) => [type, 'Recurring'] as const),
  ...['Fee', 'SavingsPlanUpfrontFee', 'Refund'].map((type) => [type, 'One-Time'] as const),
]);

const discountStatus: ReadonlyMap<string, string> = new Map([
  ...['DiscountedUsage', 'SavingsPlanCoveredUsage'].map((type) => [type, 'Used'] as const),
  ...['RIFee', 'SavingsPlanRecurringFee'].map((type) => [type, 'Unused'] as const),
]);

/** A value looked up by the line's type; empty for a type that the table does not have. */
function byType(words: ReadonlyMap<string, string>): SourceColumn {
  return {
    ...column([lineItemType], readText, repeating),
    combine: ([type = null]) => ({ text: words.get(type ?? '') ?? null, from: 0 }),
  };
}

const effectiveCostNames = [
  'lineItem/UnblendedCost',
  lineItemType,
  'savingsPlan/SavingsPlanEffectiveCost',
  'savingsPlan/TotalCommitmentToDate',
  'savingsPlan/UsedCommitment',
  'reservation/EffectiveCost',
  'reservation/UnusedAmortizedUpfrontFeeForBillingPeriod',
  'reservation/UnusedRecurringFee',
  'reservation/ReservationARN',
];

/** Null when both are null. */
function sumOf(a: string | null = null, b: string | null = null, sign: 1 | -1 = 1): string | null {
  return a === null && b === null ? null : sumDecimals(a ?? '0', b ?? '0', sign);
}

/** The amortised cost of the line; the unblended one where the columns for it are absent or empty. */
function effectiveCost(texts: readonly (string | null)[]): Combined {
  const [unblended = null, type, covered, committed, used, reserved, upfront, recurring, arn] =
    texts;
  const or = (text: string | null | undefined, from: number): Combined =>
    text === null || text === undefined ? { text: unblended, from: 0 } : { text, from };
  const nothing = { text: '0', from: 1 };
  switch (type) {
    case 'SavingsPlanCoveredUsage':
      return or(covered, 2);
    case 'SavingsPlanRecurringFee':
      return or(sumOf(committed, used, -1), 3);
    case 'SavingsPlanNegation':
    case 'SavingsPlanUpfrontFee':
      return nothing;
    case 'DiscountedUsage':
      return or(reserved, 5);
    case 'RIFee':
      return or(sumOf(upfront, recurring), 6);
    case 'Fee':
      return typeof arn === 'string' ? nothing : or(unblended, 0);
    default:
      return or(unblended, 0);
  }
}

const tagPrefix = 'resourceTags/';

function tagsOf(texts: readonly (string | null)[], names: readonly string[]): Combined {
  const tags = names.flatMap((name, index) => {
    const text = texts[index];
    return typeof text === 'string' ? [[name.slice(tagPrefix.length), text] as const] : [];
  });
  const text = tags.length === 0 ? null : JSON.stringify(Object.fromEntries(tags));
  return { text, from: 0 };
}

export const awsCurFormat: CostFormat = {
  name: 'aws-cur',
  title: 'a legacy AWS CUR',
  columns: {
    provider_name: { ...column([], readKey, repeating), combine: () => ({ text: 'AWS', from: 0 }) },
    publisher_name: column(['lineItem/LegalEntity'], readText, repeating),
    billing_account_id: column(['bill/PayerAccountId'], readAccountKey, required),
    sub_account_id: column(['lineItem/UsageAccountId'], readAccountId, repeating),
    sub_account_name: column(['lineItem/UsageAccountName'], readText, repeating),
    service_name: column(['product/ProductName', 'lineItem/ProductCode'], readText, required),
    region_id: column(['product/regionCode', 'product/region'], readText, repeating),
    region_name: column(['product/location'], readText, repeating),
    resource_id: column(['lineItem/ResourceId'], readText),
    charge_category: {
      ...column([lineItemType], readText, required),
      combine: ([type = null]) => ({ text: categories.get(type ?? '') ?? type, from: 0 }),
    },
    charge_description: column(['lineItem/LineItemDescription'], readText),
    charge_frequency: byType(frequencies),
    charge_period_start: column(['lineItem/UsageStartDate'], readTimestamp, required),
    charge_period_end: column(['lineItem/UsageEndDate'], readTimestamp, required),
    billing_currency: column(['lineItem/CurrencyCode'], readCurrency, required),
    billed_cost: column(['lineItem/UnblendedCost'], readDecimal, {
      required: true,
      repeats: false,
    }),
    effective_cost: { ...column(effectiveCostNames, readDecimal), combine: effectiveCost },
    list_cost: column(['pricing/publicOnDemandCost'], readDecimal),
    consumed_quantity: column(['lineItem/UsageAmount'], readDecimal),
    consumed_unit: column(['pricing/unit'], readText, repeating),
    commitment_discount_id: column(
      ['savingsPlan/SavingsPlanARN', 'reservation/ReservationARN'],
      readText,
      repeating,
    ),
    commitment_discount_status: byType(discountStatus),
    sku_id: column(['product/sku'], readText, repeating),
    tags: { ...column([], readTags, repeating), prefix: tagPrefix, combine: tagsOf },
    billing_period: column(['bill/BillingPeriodStartDate'], readPeriodStart, required),
  },
};
