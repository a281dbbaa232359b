/**
 * A format of cost exports: which columns of a file give each column of cost_records. One pipeline reads every
 * format; columns that a format does not name are ignored.
 */
import { PurserError } from '../../errors.ts';
import { recogniseForeign } from './foreign-formats.ts';
import { printable } from './values.ts';
import type { Reading } from './values.ts';

/** Columns of cost_records, and `billing_period`, in the order in which a row is written. */
export const targets = [
  'provider_name',
  'publisher_name',
  'billing_account_id',
  'sub_account_id',
  'sub_account_name',
  'service_name',
  'service_category',
  'region_id',
  'region_name',
  'resource_id',
  'resource_name',
  'resource_type',
  'charge_category',
  'charge_class',
  'charge_description',
  'charge_frequency',
  'charge_period_start',
  'charge_period_end',
  'billing_currency',
  'billed_cost',
  'effective_cost',
  'list_cost',
  'contracted_cost',
  'consumed_quantity',
  'consumed_unit',
  'pricing_category',
  'commitment_discount_id',
  'commitment_discount_status',
  'sku_id',
  'tags',
  'billing_period',
] as const;
export type Target = (typeof targets)[number];

/** The text made from several fields, and the index of the name that it comes from. */
export interface Combined {
  readonly text: string | null;
  readonly from: number;
}

export interface SourceColumn {
  /** Names in the file; the first that has a value gives it. */
  readonly names: readonly string[];
  /** Every column of the file whose name starts with this is added to `names`. */
  readonly prefix?: string;
  /** The file must have one of the columns, and every row a value in one of them. */
  readonly required: boolean;
  /** A file has few distinct values, so that the reading of each is cached. */
  readonly repeats: boolean;
  /** Makes the value from all fields, instead of taking the first non-empty one. `texts` are in the order of `names`; null is empty. */
  readonly combine?: (texts: readonly (string | null)[], names: readonly string[]) => Combined;
  readonly read: (text: string) => Reading;
}

export const required = { required: true, repeats: true } as const;
export const repeating = { required: false, repeats: true } as const;
const distinct = { required: false, repeats: false } as const;

export function column(
  names: readonly string[],
  read: SourceColumn['read'],
  kind: Pick<SourceColumn, 'required' | 'repeats'> = distinct,
): SourceColumn {
  return { names, read, ...kind };
}

export interface CostFormat {
  readonly name: 'focus' | 'aws-cur' | 'aws-cur-2';
  /** Its name in messages. */
  readonly title: string;
  /** A target that is not listed stays empty. */
  readonly columns: Readonly<Partial<Record<Target, SourceColumn>>>;
}

/** The extra first column of a file that was split by tenant: the line of the original file. */
export const lineColumnName = 'purser_line';

export interface MappedColumn extends SourceColumn {
  /** Position of each name in the file; -1: absent. */
  readonly positions: readonly number[];
}

/** A format's columns in one file, in the order of `targets`, and how many fields a row has. */
export interface ColumnMap {
  readonly columns: readonly (MappedColumn | null)[];
  readonly width: number;
}

type Header = readonly (string | null)[];

function wrongColumns(message: string, details: Record<string, unknown>): PurserError {
  return new PurserError('wrong_columns', message, { details: { class: 'fatal', ...details } });
}

function mapColumn(column: SourceColumn, header: readonly string[]): MappedColumn {
  const { prefix } = column;
  const extra = prefix === undefined ? [] : header.filter((name) => name.startsWith(prefix));
  const names = [...column.names, ...extra];
  const folded = header.map((name) => name.toLowerCase());
  const positions = names.map((name, index) => {
    // Tag names are case-sensitive.
    const [all, wanted] =
      index < column.names.length ? [folded, name.toLowerCase()] : [header, name];
    const position = all.indexOf(wanted);
    if (position !== -1 && all.lastIndexOf(wanted) !== position) {
      throw wrongColumns(`line 1: the column ${printable(name)} appears twice; keep one`, {
        column: name,
      });
    }
    return position;
  });
  return { ...column, names, positions };
}

/**
 * Finds a format's columns in a header; names match whatever their case and surrounding blanks. Throws PurserError
 * `wrong_columns` (fatal) naming every required column that is missing, or one that appears twice, and
 * `unsupported_format` (fatal) for the columns of another provider's export.
 */
export function mapColumns(format: CostFormat, header: Header): ColumnMap {
  const names = header.map((name) => (name ?? '').trim());
  // With these line ends the whole file would be read as one header line without rows.
  if (names.some((name) => name.includes('\r'))) {
    throw wrongColumns(
      'line 1: lines end with a carriage return only; save the file with LF or CRLF line ends',
      {},
    );
  }
  const columns = targets.map((target) => {
    const column = format.columns[target];
    return column === undefined ? null : mapColumn(column, names);
  });
  const missing = columns.flatMap((column) =>
    column?.required === true && column.positions.every((position) => position === -1)
      ? [column.names.join(' or ')]
      : [],
  );
  if (missing.length > 0) {
    const foreign = recogniseForeign(names);
    if (foreign !== undefined) {
      throw new PurserError(
        'unsupported_format',
        `this is ${foreign.name}, which is not read: ${foreign.advice}`,
        { details: { class: 'fatal' } },
      );
    }
    const found = header
      .slice(0, 5)
      .map((name) => printable(name ?? 'NULL', 40))
      .join(', ');
    throw wrongColumns(
      `line 1: not ${format.title} file: missing ${missing.join(', ')} ` +
        `(the file begins with ${found}); ${adviceOn(names, format)}`,
      { missing },
    );
  }
  return { columns, width: header.length };
}

function adviceOn(names: readonly string[], format: CostFormat): string {
  const guess = guessFormatName(names);
  return guess === format.name
    ? 'export it again with these columns'
    : `it looks like format ${guess}; leave --format out, or export it again with these columns`;
}

/** The format that a header most likely has, by the spelling of its names. */
export function guessFormatName(header: Header): CostFormat['name'] {
  const names = header.map((name) => (name ?? '').trim());
  if (names.some((name) => /^(?:identity|lineItem)\//i.test(name))) return 'aws-cur';
  return names.some((name) => /^(?:identity|line_item)_/i.test(name)) ? 'aws-cur-2' : 'focus';
}
