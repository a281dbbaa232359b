/** The bills that the rows of a file belong to: source and billing period. */
import type { CsvRecord } from './csv-records.ts';
import { targets } from './format.ts';
import type { ColumnMap, MappedColumn, Target } from './format.ts';
import { readFieldText } from './rows.ts';
import { accountOf } from './source-key.ts';

export interface Bill {
  readonly source: string;
  /** First day of the billing period, `YYYY-MM-DD`. */
  readonly billingPeriod: string;
}

/** Identifies a bill within an export. */
export const billName = ({ source, billingPeriod }: Bill): string => `${billingPeriod} ${source}`;

/**
 * Returns a function that gives the bill of a row, the same object for rows of one spelling; undefined where the row
 * does not say it. `source` is the operator's name for it, as for `createRowReader`.
 */
export function createBillReader(
  { columns, width }: ColumnMap,
  source: string | null,
): (record: CsvRecord) => Bill | undefined {
  const columnOf = (target: Target): MappedColumn | null =>
    columns[targets.indexOf(target)] ?? null;
  const wanted = [
    columnOf('provider_name'),
    columnOf('billing_account_id'),
    columnOf('billing_period'),
  ];
  const known = new Map<string, Bill | undefined>();

  const read = (texts: readonly string[]): Bill | undefined => {
    const values = texts.map((text, index) => {
      const reading = wanted[index]?.read(text);
      return reading !== undefined && 'value' in reading ? reading.value : undefined;
    });
    const [provider, account, billingPeriod] = values;
    if (provider === undefined || account === undefined || billingPeriod === undefined) {
      return undefined;
    }
    const id = accountOf(provider, account);
    if ('reason' in id) return undefined;
    return { source: source ?? `${provider}/${id.value}`, billingPeriod };
  };

  return (record) => {
    if (record.fields.length !== width) return undefined;
    const texts = wanted.map((column) => {
      const taken = column === null ? { text: null } : readFieldText(column, record);
      return 'text' in taken ? (taken.text ?? '') : '';
    });
    const key = texts.join('\u0000');
    if (!known.has(key)) {
      if (known.size >= maxKnown) known.clear();
      known.set(key, read(texts));
    }
    return known.get(key);
  };
}

const maxKnown = 10_000;
