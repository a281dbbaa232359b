/**
 * Rows of a Cloud Billing export (BigQuery, as CSV with joined names or as JSON) for the Gemini API: one per SKU, project,
 * labels and hour, with an amount and a count of tokens. The SKU is named in words: `Generate content output token count
 * gemini 2.5 flash short input text`.
 */
import type { Amount } from '../amounts.ts';
import type { Cell } from './models.ts';
import { amountOf, countOf, dayOf, textOf } from './row.ts';
import type { FileRow } from './row.ts';
import type { BucketRow, BucketShape } from './shape.ts';

const sku = ['sku.description', 'sku_description'];
const start = ['usage_start_time'];
const end = ['usage_end_time'];
const cost = ['cost'];

/** Words behind the name of a model. */
const endOfModel = new Set(
  (
    'short long text input output image audio video batch flex priority caching cached cache thinking ga preview ' +
    'token tokens count predictions tuning storage search non live'
  ).split(' '),
);

function modelOf(words: readonly string[]): string | null {
  const from = words.indexOf('gemini');
  if (from < 0) return null;
  const rest = words.slice(from + 1);
  const length = rest.findIndex((word) => endOfModel.has(word));
  return ['gemini', ...(length < 0 ? rest : rest.slice(0, length))].join(' ');
}

/** The order matters: `cached input` is no input, and `output token count ... short input text` is output. */
function cellOf(words: readonly string[]): Cell | undefined {
  if (words.includes('storage')) return 'fee';
  if (words.some((word) => word.startsWith('cach'))) return 'cache_read';
  if (words.includes('output')) return 'output';
  return words.includes('input') ? 'input' : undefined;
}

const tierOf = (words: readonly string[]): string =>
  ['batch', 'flex', 'priority'].find((tier) => words.includes(tier)) ?? 'standard';

/** Other currencies are not converted: the usage is compared, at the price that was pinned. */
function usdOf(row: FileRow): Amount | null {
  return (textOf(row, ['currency']) ?? 'USD').toUpperCase() === 'USD' ? amountOf(row, cost) : null;
}

/** A tax, a rounding error or an adjustment is of no usage; other SKUs are not ours to compare. */
function asideOf(row: FileRow, words: readonly string[]): string | undefined {
  const kind = textOf(row, ['cost_type']) ?? 'regular';
  if (kind !== 'regular') return `rows of type ${kind.slice(0, 40)}`;
  return words.includes('gemini') || words.includes('grounding') ? undefined : 'rows of other SKUs';
}

export const googleBilling: BucketShape = {
  kind: 'buckets',
  name: 'google-billing',
  provider: 'google',
  columns: [sku, start, cost],
  feesByModel: false,
  tiers: true,
  read: (row): BucketRow => {
    const words = (textOf(row, sku) ?? '').toLowerCase().split(/[^a-z0-9.]+/);
    const projects = ['project.id', 'project_id', 'project.name'].flatMap(
      (name) => textOf(row, [name]) ?? [],
    );
    const amount = usdOf(row);
    const aside = asideOf(row, words);
    if (aside !== undefined) {
      return { day: '', entries: [], aside, asideAmount: amount, projects, keys: [] };
    }
    const cell = cellOf(words);
    const counted = cell !== undefined && cell !== 'fee';
    const count = counted ? countOf(row, ['usage.amount', 'usage_amount']) : null;
    const entry = {
      cell: cell ?? 'fee',
      model: counted ? modelOf(words) : null,
      tier: counted ? tierOf(words) : 'standard',
      amount,
      count,
    };
    return { day: dayOf(row, start, end), entries: [entry], projects, keys: [] };
  },
};
