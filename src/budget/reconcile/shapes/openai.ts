/**
 * OpenAI's costs: the CSV that the usage dashboard exports, and pages of `GET /v1/organization/costs`. One row per UTC day
 * and what the costs are grouped by: project, line item (`gpt-4o-mini-2024-07-18, cached input`), API key. A day without
 * costs is a row without an amount. `quantity` is in newer exports only.
 */
import { PurserError } from '../../../errors.ts';
import type { Cell } from './models.ts';
import { amountOf, countOf, dayOf, textOf } from './row.ts';
import type { BucketEntry, BucketShape } from './shape.ts';

const start = ['start_time', 'start_time_iso'];
const end = ['end_time', 'end_time_iso'];
const amountNames = ['amount_value', 'amount.value'];
const currencyNames = ['amount_currency', 'amount.currency'];

const cells: Readonly<Record<string, Cell>> = {
  input: 'input',
  input_tokens: 'input',
  'cached input': 'cache_read',
  'cache writes': 'cache_write',
  output: 'output',
  output_tokens: 'output',
};

/**
 * `model, unit`; the model may have the medium behind it. Other items are fees of no model, such as searches. The name of
 * another surface stays with the model, of which no call is ours: `evals | gpt-4o, input`.
 */
function readLineItem(item: string | null): Pick<BucketEntry, 'model' | 'cell'> {
  if (item === null) return { model: null, cell: 'all' };
  const comma = item.lastIndexOf(',');
  const cell =
    comma < 0
      ? undefined
      : cells[
          item
            .slice(comma + 1)
            .trim()
            .toLowerCase()
        ];
  if (cell === undefined) return { model: null, cell: 'fee' };
  const model = item
    .slice(0, comma)
    .trim()
    .replace(/ (text|audio|image|video)$/, '');
  return { model, cell };
}

export const openAiCosts: BucketShape = {
  kind: 'buckets',
  name: 'openai-costs',
  provider: 'openai',
  columns: [start, amountNames],
  feesByModel: false,
  tiers: false,
  read: (row) => {
    const day = dayOf(row, start, end);
    const keys = [textOf(row, ['api_key_id'])].filter((name) => name !== null);
    const projects = ['project_id', 'project_name'].flatMap((name) => textOf(row, [name]) ?? []);
    const amount = amountOf(row, amountNames);
    if (amount === null) return { day, entries: [], projects, keys };
    const currency = textOf(row, currencyNames);
    if (currency !== null && currency.toLowerCase() !== 'usd') {
      throw new PurserError(
        'other_currency',
        `line ${row.line}: the costs are in ${currency.slice(0, 10)}, and the ledger is in USD; export them in USD`,
      );
    }
    const item = readLineItem(textOf(row, ['line_item']));
    const isTokens = (textOf(row, ['quantity_unit']) ?? 'tokens') === 'tokens';
    const count = item.model !== null && isTokens ? countOf(row, ['quantity']) : null;
    const entry = { ...item, tier: 'standard', amount, count };
    return { day, entries: [entry], projects, keys };
  },
};
