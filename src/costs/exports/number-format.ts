/**
 * Amounts that are numbers, but not written with a decimal point and nothing else: `12,5`, `1.234,56`, `(12.00)`,
 * `$12`. One of them proves how the file writes numbers, and there `1.234` may be 1234.
 */
import type { CsvRecord } from './csv-records.ts';
import type { ColumnMap } from './format.ts';
import { isDecimal, readCurrency, readDecimal } from './values.ts';

/** Digits with separators, around which signs, parentheses and a currency may stand. */
const formatted =
  /^\(?[-+\u2212]?\s*(\p{Sc}|[A-Z]{3}|)\s*[-+\u2212]?([\d.,'\u2019\s]*\d[\d.,'\u2019\s]*)(?:[eE][-+]?\d+)?\s*(\p{Sc}|[A-Z]{3}|)\s*[-\u2212]?\)?$/u;
const grouped = /^\d{1,3}(?:\.\d{3})+$/;
const isCurrency = (text: string): boolean => 'value' in readCurrency(text);

const decimalComma = 'a decimal comma';

/** How an amount is written, if it is a number in another format; undefined for a decimal, and for what is no number. */
export function numberFormatFault(text: string): string | undefined {
  const amount = text.trim();
  if (amount === '' || amount.length > 100 || isDecimal(amount)) return undefined;
  const [, before = '', number = '', after = ''] = formatted.exec(amount) ?? [];
  const digits = number.trim();
  if (digits === '') return undefined;
  const letters = [before, after].filter((sign) => /[A-Z]/.test(sign));
  if (!letters.every(isCurrency)) return undefined;
  if (/,\d{0,2}$|,\d{4,}$|\..*,/.test(digits)) return decimalComma;
  if (/[,'\u2019\s]/.test(digits) || grouped.test(digits)) return 'separators between its digits';
  if (/\..*\./.test(digits)) return undefined;
  if (letters.length > 0) return undefined;
  if (before !== '' || after !== '') return 'a currency sign';
  return amount.startsWith('(')
    ? 'parentheses instead of a minus sign'
    : 'a sign that is not - or + before it';
}

interface FormattedAmount {
  readonly column: string;
  /** What the amount has. */
  readonly fault: string;
}

/** An amount by its name, also where no cost record has it: `ListUnitPrice`, `lineItem/UnblendedRate`. */
const namesAmount = /(?:price|cost|amount|quantity|rate)$/i;
/** Names and values of these columns are the customer's own. */
const ofTags = /^(?:resource_?tags|cost_?category)\b|^(?:resource_tags|cost_category)_/i;

/** Positions of the amounts that become part of a cost record. */
function readAmounts(columns: ColumnMap['columns']): ReadonlySet<number> {
  const positions = columns.flatMap((column) =>
    column?.read === readDecimal ? column.positions : [],
  );
  return new Set(positions.filter((position) => position !== -1));
}

/**
 * Returns a check for the rows of a file: an amount in another number format. Of a column that is not read, only a
 * decimal comma counts: what it holds is known by its name alone.
 */
export function createAmountCheck(
  { columns, width }: ColumnMap,
  header: CsvRecord['fields'],
): (record: CsvRecord) => FormattedAmount | undefined {
  const read = readAmounts(columns);
  const amounts = header.flatMap((field, position) => {
    const name = (field ?? '').trim();
    const isAmount = read.has(position) || (namesAmount.test(name) && !ofTags.test(name));
    return isAmount ? [{ position, name, isRead: read.has(position) }] : [];
  });
  return ({ fields, faults }) => {
    // In a row of another width the amounts are not in their columns.
    if (fields.length !== width || faults.some(({ field }) => field === null)) return undefined;
    for (const { position, name, isRead } of amounts) {
      const fault = numberFormatFault(fields[position] ?? '');
      if (fault !== undefined && (isRead || fault === decimalComma)) return { column: name, fault };
    }
    return undefined;
  };
}
