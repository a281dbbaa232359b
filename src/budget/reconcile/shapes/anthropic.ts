/**
 * Anthropic's usage by day, key, model and service tier: the CSV that the Console exports, and pages of
 * `GET /v1/organizations/usage_report/messages`, which have counts of tokens and no amounts; and its costs, by CSV
 * (rounded to cents) or `GET /v1/organizations/cost_report` (a decimal string in cents), which have no counts.
 */
import type { Cell } from './models.ts';
import { amountOf, countOf, dayOf, textOf } from './row.ts';
import type { FileRow } from './row.ts';
import type { BucketEntry, BucketShape } from './shape.ts';

const start = ['usage_date_utc', 'starting_at'];
const end = ['ending_at'];
const model = ['model_version', 'model'];
const outputTokens = ['usage_output_tokens', 'output_tokens'];

const countColumns: readonly (readonly [Exclude<Cell, 'all'>, readonly string[]])[] = [
  ['input', ['usage_input_tokens_no_cache', 'uncached_input_tokens']],
  ['cache_read', ['usage_input_tokens_cache_read', 'cache_read_input_tokens']],
  [
    'cache_write',
    ['usage_input_tokens_cache_write_5m', 'cache_creation.ephemeral_5m_input_tokens'],
  ],
  [
    'cache_write_1h',
    ['usage_input_tokens_cache_write_1h', 'cache_creation.ephemeral_1h_input_tokens'],
  ],
  ['output', outputTokens],
  ['fee', ['web_search_count', 'server_tool_use.web_search_requests']],
];

const tokenTypes: Readonly<Record<string, Cell>> = {
  input_no_cache: 'input',
  uncached_input_tokens: 'input',
  input_cache_read: 'cache_read',
  cache_read_input_tokens: 'cache_read',
  input_cache_write_5m: 'cache_write',
  'cache_creation.ephemeral_5m_input_tokens': 'cache_write',
  input_cache_write_1h: 'cache_write_1h',
  'cache_creation.ephemeral_1h_input_tokens': 'cache_write_1h',
  output: 'output',
  output_tokens: 'output',
};

/** The Console's CSV has it as the type of usage; `message` is what the cost export calls an ordinary call. */
function tierOf(row: FileRow): string {
  const tier = textOf(row, ['service_tier', 'usage_type'])?.toLowerCase() ?? 'standard';
  return tier === 'message' ? 'standard' : tier;
}

function ownersOf(row: FileRow): { projects: string[]; keys: string[] } {
  const named = (names: readonly string[]) => names.flatMap((name) => textOf(row, [name]) ?? []);
  return {
    projects: named(['workspace_id', 'workspace']),
    keys: named(['api_key_id', 'api_key']),
  };
}

export const anthropicUsageReport: BucketShape = {
  kind: 'buckets',
  name: 'anthropic-usage',
  provider: 'anthropic',
  columns: [start, outputTokens],
  feesByModel: true,
  tiers: true,
  read: (row) => {
    const day = dayOf(row, start, end);
    const common = { model: textOf(row, model), tier: tierOf(row), amount: null };
    const entries = countColumns.flatMap(([cell, names]): BucketEntry[] => {
      const count = countOf(row, names) ?? 0n;
      return count === 0n ? [] : [{ ...common, cell, count }];
    });
    return { day, entries, ...ownersOf(row) };
  },
};

/** Priority tier costs are not in it. */
export const anthropicCosts: BucketShape = {
  kind: 'buckets',
  name: 'anthropic-costs',
  provider: 'anthropic',
  columns: [start, ['cost_usd', 'amount']],
  feesByModel: false,
  tiers: true,
  read: (row) => {
    const day = dayOf(row, start, end);
    // In the lowest unit of the currency: "123.45" is 1.2345 USD.
    const amount = amountOf(row, ['cost_usd']) ?? amountOf(row, ['amount'], -2);
    if (amount === null) return { day, entries: [], ...ownersOf(row) };
    const cell = tokenTypes[textOf(row, ['token_type']) ?? ''] ?? 'all';
    const name = textOf(row, model);
    const entry = { cell: name === null ? 'all' : cell, model: name, tier: tierOf(row) } as const;
    return { day, entries: [{ ...entry, amount, count: null }], ...ownersOf(row) };
  },
};
