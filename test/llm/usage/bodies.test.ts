/** Real usage bodies of providers, each priced by the data's own authors: the charge must be the same. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { costNanoUsd, formatUsd } from '../../../src/budget/money.ts';
import { publishedPrice } from '../../../src/budget/published-prices.ts';
import { tokensOf } from '../../../src/budget/usage-classes.ts';
import { anthropicUsage } from '../../../src/llm/usage/anthropic.ts';
import { chargeOf } from '../../../src/llm/usage/charge.ts';
import { googleUsage } from '../../../src/llm/usage/google.ts';
import { openAiUsage } from '../../../src/llm/usage/openai.ts';
import type { ReportedUsage } from '../../../src/llm/usage/reported.ts';

const file = join(
  import.meta.dirname,
  '../../../../shared/data/llm/genai_prices_usages_dev.json.gz',
);

interface Priced {
  readonly provider_id: string;
  readonly api_flavor: string;
  readonly input_price?: string;
  readonly output_price?: string;
  readonly total_price?: string;
}

interface Entry {
  readonly model?: string;
  readonly body: { readonly file: string; readonly [field: string]: unknown };
  readonly extracted: readonly {
    readonly usage: Readonly<Record<string, number>>;
    readonly extractors: readonly Priced[];
  }[];
}

/** Of the data's prices; some have changed since. */
const pricedAt = new Date('2026-06-01T12:00:00Z');

/** Sellers, in the order in which those with a price for a model are tried. */
const baseUrls: Readonly<Record<string, string>> = {
  anthropic: 'https://api.anthropic.com/v1',
  openai: 'https://api.openai.com/v1',
  openrouter: 'https://openrouter.ai/api/v1',
  google: 'https://generativelanguage.googleapis.com/v1beta',
  aws: 'https://bedrock-runtime.us-east-1.amazonaws.com',
  groq: 'https://api.groq.com/openai/v1',
  mistral: 'https://api.mistral.ai/v1',
  deepseek: 'https://api.deepseek.com',
  zhipuai: 'https://open.bigmodel.cn/api/paas/v4',
  huggingface_together: 'https://router.huggingface.co/together',
  huggingface_hyperbolic: 'https://router.huggingface.co/hyperbolic',
};

/** Each with the reason why its charge differs from the data's. */
const known: readonly { readonly name: RegExp; readonly reason: string }[] = [
  { name: /TestCohere/, reason: 'Cohere’s own protocol, which no gateway speaks' },
  {
    name: /compaction_usage_with_cache|compaction_end_to_end/,
    reason: 'the data leaves out the compaction, which Anthropic bills',
  },
  {
    name: /compatible_api_with_tool_calls_without_id/,
    reason: 'the data leaves out the thoughts that only the total contains',
  },
  { name: /service_tier_flex/, reason: 'the data leaves out that the tier flex costs half' },
  {
    name: /bedrock_mantle.*reused_tool_call_ids/,
    reason: 'the data leaves out cache writes of this seller, which its price names',
  },
  {
    name: /openrouter_file_annotation|thinking_false_profile_gated_model/,
    reason: 'OpenRouter’s own figure for its charge is higher than the list price',
  },
];

function kindOf(body: Entry['body']): 'google' | 'anthropic' | 'openai' {
  if ('usageMetadata' in body) return 'google';
  const usage = JSON.stringify(body['usage'] ?? null);
  return usage.includes('"input_tokens":') && !usage.includes('"total_tokens":')
    ? 'anthropic'
    : 'openai';
}

const readers = { google: googleUsage, anthropic: anthropicUsage, openai: openAiUsage };

function sellerOf(entry: Entry): { baseUrl: string; priced: Priced; usage: object } | undefined {
  const found = entry.extracted
    .flatMap(({ extractors, usage }) => extractors.map((priced) => ({ priced, usage })))
    .filter(({ priced }) => priced.input_price !== undefined && priced.api_flavor !== 'embeddings');
  for (const [provider, baseUrl] of Object.entries(baseUrls)) {
    const named = found.find(({ priced }) => priced.provider_id === provider);
    if (named !== undefined) return { baseUrl, ...named };
  }
  return undefined;
}

/** undefined where the charge is the data's; without a price in the data, where the tokens are. */
function differenceOf(entry: Entry): string | undefined {
  const kind = kindOf(entry.body);
  const usage: ReportedUsage | undefined = readers[kind](entry.body);
  const tokens = usage === undefined ? undefined : tokensOf(usage.counts);
  const seller = sellerOf(entry);
  if (usage === undefined || tokens === undefined) return 'no usage was read';
  if (seller === undefined) {
    const expected = entry.extracted[0]?.usage ?? {};
    const same =
      tokens.inputTokens === (expected['input_tokens'] ?? 0) &&
      tokens.outputTokens === (expected['output_tokens'] ?? 0);
    return same ? undefined : `tokens ${JSON.stringify(tokens)}, not ${JSON.stringify(expected)}`;
  }
  const { baseUrl, priced } = seller;
  const model = entry.model ?? '';
  const price = publishedPrice({ model, baseUrl, now: pricedAt });
  if (price === undefined) return `${model} has no price at ${baseUrl}`;
  const charge = chargeOf({ price, holdNanoUsd: 0n, model, provider: kind, baseUrl, usage });
  const expected = costNanoUsd(
    (priced.total_price === undefined
      ? [priced.input_price ?? '0', priced.output_price ?? '0']
      : [priced.total_price]
    ).map((usd) => ({ count: 1, usd, per: 1 })),
  );
  if (charge.costNanoUsd === expected) return undefined;
  return `${formatUsd(charge.costNanoUsd)} USD, not ${formatUsd(expected)}: ${JSON.stringify(charge.items)}`;
}

it.skipIf(!existsSync(file))('at least 870 of 884 real usage bodies are charged as priced', () => {
  const entries: Entry[] = JSON.parse(gunzipSync(readFileSync(file)).toString());
  const differences = entries.flatMap((entry) => {
    const difference = differenceOf(entry);
    return difference === undefined
      ? []
      : [{ name: entry.body.file, model: entry.model, difference }];
  });
  const reasonOf = (name: string) => known.find((one) => one.name.test(name))?.reason;
  for (const { name, model, difference } of differences) {
    console.log(`${name} (${model}): ${difference}; ${reasonOf(name) ?? 'UNEXPLAINED'}`);
  }
  console.log(
    `usage bodies: ${entries.length - differences.length} of ${entries.length} as priced`,
  );
  expect(differences.filter(({ name }) => reasonOf(name) === undefined)).toEqual([]);
  expect(entries.length - differences.length).toBeGreaterThanOrEqual(870);
});
