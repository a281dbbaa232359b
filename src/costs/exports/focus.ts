/**
 * FOCUS 1.0 to 1.4: which columns are kept and how each is read. Columns of a provider's own and those of other FOCUS
 * versions are ignored. FOCUS 1.3 deprecates ProviderName and PublisherName in favour of ServiceProviderName and
 * HostProviderName; 1.4 has the new names only. A column that is stored
 * anew also needs `targets` in format.ts and a migration.
 */
import { column, repeating, required } from './format.ts';
import type { CostFormat } from './format.ts';
import { readAccountKey, readKey, readPeriodStart } from './source-key.ts';
import {
  canonicalWord,
  readAccountId,
  readCurrency,
  readDecimal,
  readTags,
  readText,
  readTimestamp,
} from './values.ts';
import type { Reading } from './values.ts';

function readWord(text: string): Reading {
  return readText(canonicalWord(text));
}

export const focusFormat: CostFormat = {
  name: 'focus',
  title: 'a FOCUS 1.0 to 1.4',
  columns: {
    provider_name: column(
      ['ProviderName', 'ServiceProviderName', 'HostProviderName'],
      readKey,
      required,
    ),
    publisher_name: column(['PublisherName', 'ServiceProviderName'], readText, repeating),
    billing_account_id: column(['BillingAccountId'], readAccountKey, required),
    sub_account_id: column(['SubAccountId'], readAccountId, repeating),
    sub_account_name: column(['SubAccountName'], readText, repeating),
    service_name: column(['ServiceName'], readText, required),
    service_category: column(['ServiceCategory'], readText, repeating),
    region_id: column(['RegionId'], readText, repeating),
    region_name: column(['RegionName'], readText, repeating),
    resource_id: column(['ResourceId'], readText),
    resource_name: column(['ResourceName'], readText),
    resource_type: column(['ResourceType'], readText, repeating),
    charge_category: column(['ChargeCategory'], readWord, required),
    charge_class: column(['ChargeClass'], readWord, repeating),
    charge_description: column(['ChargeDescription'], readText),
    charge_frequency: column(['ChargeFrequency'], readWord, repeating),
    charge_period_start: column(['ChargePeriodStart'], readTimestamp, required),
    charge_period_end: column(['ChargePeriodEnd'], readTimestamp, required),
    billing_currency: column(['BillingCurrency'], readCurrency, required),
    billed_cost: column(['BilledCost'], readDecimal, { required: true, repeats: false }),
    effective_cost: column(['EffectiveCost'], readDecimal),
    list_cost: column(['ListCost'], readDecimal),
    contracted_cost: column(['ContractedCost'], readDecimal),
    consumed_quantity: column(['ConsumedQuantity'], readDecimal),
    consumed_unit: column(['ConsumedUnit'], readText, repeating),
    pricing_category: column(['PricingCategory'], readWord, repeating),
    commitment_discount_id: column(['CommitmentDiscountId'], readText, repeating),
    commitment_discount_status: column(['CommitmentDiscountStatus'], readWord, repeating),
    sku_id: column(['SkuId'], readText, repeating),
    tags: column(['Tags'], readTags, repeating),
    billing_period: column(['BillingPeriodStart'], readPeriodStart, required),
  },
};
