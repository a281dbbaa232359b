/**
 * The FOCUS 1.0 to 1.2 columns that Purser keeps, what each must hold, and where it goes. Columns that are
 * not named here are passed over: providers add their own, and each FOCUS version adds some.
 */
import { PurserError } from '../../errors.ts';
import {
  canonicalWord,
  readCurrency,
  readDecimal,
  readKey,
  readTags,
  readText,
  readTimestamp,
} from './values.ts';
import type { Reading } from './values.ts';

export interface FocusColumn {
  readonly name: string;
  /** Column of the table cost_records. */
  readonly target: string;
  /** The file must have the column, and every row a value in it. */
  readonly required: boolean;
  /** Few distinct values repeat in a file, so that reading each once pays. */
  readonly repeats: boolean;
  readonly read: (text: string) => Reading;
}

function column(
  name: string,
  target: string,
  read: FocusColumn['read'],
  options: { required?: boolean; repeats?: boolean } = {},
): FocusColumn {
  return {
    name,
    target,
    read,
    required: options.required ?? false,
    repeats: options.repeats ?? false,
  };
}

const required = { required: true, repeats: true } as const;
const repeating = { repeats: true } as const;

function readWord(text: string): Reading {
  return readText(canonicalWord(text));
}

/** In the order in which a row is written. */
export const focusColumns: readonly FocusColumn[] = [
  column('ProviderName', 'provider_name', readKey, required),
  column('PublisherName', 'publisher_name', readText, repeating),
  column('BillingAccountId', 'billing_account_id', readKey, required),
  column('SubAccountId', 'sub_account_id', readText, repeating),
  column('SubAccountName', 'sub_account_name', readText, repeating),
  column('ServiceName', 'service_name', readText, required),
  column('ServiceCategory', 'service_category', readText, repeating),
  column('RegionId', 'region_id', readText, repeating),
  column('RegionName', 'region_name', readText, repeating),
  column('ResourceId', 'resource_id', readText),
  column('ResourceName', 'resource_name', readText),
  column('ResourceType', 'resource_type', readText, repeating),
  column('ChargeCategory', 'charge_category', readWord, required),
  column('ChargeClass', 'charge_class', readWord, repeating),
  column('ChargeDescription', 'charge_description', readText),
  column('ChargeFrequency', 'charge_frequency', readWord, repeating),
  column('ChargePeriodStart', 'charge_period_start', readTimestamp, required),
  column('ChargePeriodEnd', 'charge_period_end', readTimestamp, required),
  column('BillingCurrency', 'billing_currency', readCurrency, required),
  column('BilledCost', 'billed_cost', readDecimal, { required: true }),
  column('EffectiveCost', 'effective_cost', readDecimal),
  column('ListCost', 'list_cost', readDecimal),
  column('ContractedCost', 'contracted_cost', readDecimal),
  column('ConsumedQuantity', 'consumed_quantity', readDecimal),
  column('ConsumedUnit', 'consumed_unit', readText, repeating),
  column('PricingCategory', 'pricing_category', readWord, repeating),
  column('CommitmentDiscountId', 'commitment_discount_id', readText, repeating),
  column('CommitmentDiscountStatus', 'commitment_discount_status', readWord, repeating),
  column('SkuId', 'sku_id', readText, repeating),
  column('Tags', 'tags', readTags, repeating),
  column('BillingPeriodStart', 'billing_period', readTimestamp, required),
];

/** The extra first column of a file that was split by tenant: the line of the original file. */
export const lineColumnName = 'purser_line';

/** Position in the file of each of `focusColumns` (-1: absent), and how many fields a row has. */
export interface ColumnMap {
  readonly positions: readonly number[];
  readonly width: number;
}

function wrongColumns(message: string, details: Record<string, unknown>): PurserError {
  return new PurserError('focus_wrong_columns', message, {
    details: { class: 'fatal', ...details },
  });
}

/**
 * Finds the kept columns in a header; names match whatever their case and surrounding blanks. Throws PurserError
 * `focus_wrong_columns` (fatal) naming every required column that is missing, or one that stands twice.
 */
export function mapColumns(header: readonly (string | null)[]): ColumnMap {
  const names = header.map((name) => (name ?? '').trim().toLowerCase());
  const missing: string[] = [];
  const positions = focusColumns.map(({ name, required }) => {
    const position = names.indexOf(name.toLowerCase());
    if (position !== -1 && names.lastIndexOf(name.toLowerCase()) !== position) {
      throw wrongColumns(`line 1: the column ${name} stands twice; keep one`, { column: name });
    }
    if (position === -1 && required) missing.push(name);
    return position;
  });
  if (missing.length > 0) {
    const found = header
      .slice(0, 5)
      .map((name) => (name ?? 'NULL').slice(0, 40))
      .join(', ');
    throw wrongColumns(
      `line 1: not a FOCUS 1.0 to 1.2 file: missing ${missing.join(', ')} ` +
        `(the file begins with ${found}); export it again with these columns`,
      { missing },
    );
  }
  return { positions, width: header.length };
}
