/** Real usage bodies of providers, each priced by the data's own authors: the charge must be the same. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { costNanoUsd, formatUsd } from '../../../src/budget/money.ts';
import { publishedPrice } from '../../../src/budget/prices/published.ts';
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
];

function kindOf(body: Entry['body']): 'google' | 'anthropic' | 'openai' {
  if ('usageMetadata' in body) return 'google';
  const usage = JSON.stringify(body['usage'] ?? null);
  return usage.includes('"input_tokens":') && !usage.includes('"total_tokens":')
    ? 'anthropic'
    : 'openai';
}

const readers = { google: googleUsage, anthropic: anthropicUsage, openai: openAiUsage };

interface Expectation {
  readonly baseUrl: string;
  /** Decimals in USD that add up to the cost. */
  readonly usd: readonly string[];
}

/** OpenRouter's own figure for its charge, else the data's price of the first seller that has one. */
function expectationOf({ body, extracted }: Entry): Expectation | undefined {
  const charged = 'usage' in body ? openAiUsage(body)?.chargedUsd : undefined;
  if (charged !== undefined) return { baseUrl: baseUrls['openrouter'] ?? '', usd: [charged] };
  const priced = extracted
    .flatMap(({ extractors }) => extractors)
    .filter((one) => one.input_price !== undefined && one.api_flavor !== 'embeddings');
  for (const [provider, baseUrl] of Object.entries(baseUrls)) {
    const named = priced.find((one) => one.provider_id === provider);
    if (named === undefined) continue;
    const parts = [named.input_price ?? '0', named.output_price ?? '0'];
    return { baseUrl, usd: named.total_price === undefined ? parts : [named.total_price] };
  }
  return undefined;
}

/** undefined where the charge is the expected one; without a price in the data, where the tokens are. */
function differenceOf(entry: Entry): string | undefined {
  const kind = kindOf(entry.body);
  const usage: ReportedUsage | undefined = readers[kind](entry.body);
  if (usage === undefined) return 'no usage was read';
  const expected = expectationOf(entry);
  if (expected === undefined) {
    const tokens = tokensOf(usage.counts);
    const { input_tokens: input = 0, output_tokens: output = 0 } = entry.extracted[0]?.usage ?? {};
    const same = tokens.inputTokens === input && tokens.outputTokens === output;
    return same ? undefined : `tokens ${JSON.stringify(tokens)}, not ${input} and ${output}`;
  }
  const { baseUrl, usd } = expected;
  const model = entry.model ?? '';
  const price = publishedPrice({ model, baseUrl, now: pricedAt });
  if (price === undefined) return `${model} has no price at ${baseUrl}`;
  const charge = chargeOf({ price, holdNanoUsd: 0n, model, provider: kind, baseUrl, usage });
  const cost = costNanoUsd(usd.map((part) => ({ count: 1, usd: part, per: 1 })));
  if (charge.costNanoUsd === cost) return undefined;
  return `${formatUsd(charge.costNanoUsd)} USD, not ${formatUsd(cost)}: ${JSON.stringify(charge.items)}`;
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
