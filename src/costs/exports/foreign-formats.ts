/**
 * Exports that are not read but are recognised by their columns, so that a refusal can name them and say which export
 * to make instead.
 */

export interface ForeignFormat {
  readonly name: string;
  /** What to do. */
  readonly advice: string;
}

interface Recognised extends ForeignFormat {
  readonly matches: (names: ReadonlySet<string>) => boolean;
}

const hasAll =
  (...wanted: readonly string[]) =>
  (names: ReadonlySet<string>): boolean =>
    wanted.every((name) => names.has(name));

const hasAny =
  (...wanted: readonly string[]) =>
  (names: ReadonlySet<string>): boolean =>
    wanted.some((name) => names.has(name));

const foreign: readonly Recognised[] = [
  {
    name: 'an OCI cost report',
    matches: hasAny('lineitem/referenceno', 'lineitem/tenantid', 'cost/mycost', 'cost/productsku'),
    advice:
      'download the FOCUS report instead, which OCI writes into the folder "FOCUS Reports" of the same bucket',
  },
  {
    name: 'an Azure cost details export (actual or amortized cost)',
    matches: (names) =>
      hasAny('metercategory', 'metername')(names) &&
      hasAny('subscriptionid', 'subscriptionguid', 'resourcelocation', 'pretaxcost')(names),
    advice:
      'in Cost Management > Exports make an export of the type "Cost and usage details (FOCUS)"',
  },
  {
    name: 'a Google Cloud billing export',
    matches: (names) =>
      hasAny('service.description', 'service_description')(names) ||
      hasAll('usage_start_time', 'usage_end_time')(names) ||
      hasAll('service description', 'sku description')(names),
    advice:
      "create Google's FOCUS view over the detailed usage cost export in BigQuery, and export the rows of that view as CSV",
  },
  {
    name: 'an AWS detailed billing report',
    matches: hasAll('payeraccountid', 'linkedaccountid', 'recordtype'),
    advice: 'in Billing > Data Exports make a FOCUS or CUR 2.0 export as CSV (gzip)',
  },
];

/** The export that a header belongs to, if it is one of those that are not read. */
export function recogniseForeign(header: readonly (string | null)[]): ForeignFormat | undefined {
  const names = new Set(header.map((name) => (name ?? '').trim().toLowerCase()));
  return foreign.find(({ matches }) => matches(names));
}
