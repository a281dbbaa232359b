/**
 * Usage in the bodies of OpenAI and compatible servers: chat completions, responses, embeddings and images.
 * platform.openai.com/docs/api-reference, objects "usage".
 */
import { asObject, asObjects } from '../provider-body.ts';
import type { JsonObject } from '../provider-body.ts';
import { optionalCount, optionalText, split, tierOf, tokenCount } from './reported.ts';
import type { ReportedUsage } from './reported.ts';

export function openAiUsage(body: JsonObject): ReportedUsage | undefined {
  const usage = asObject(body['usage']);
  if (usage === undefined) return undefined;
  const tokens = totalsOf(usage);
  if (tokens === undefined) return undefined;
  const { input, output } = tokens;
  const inputDetails = asObject(
    usage['prompt_tokens_details'] ?? usage['input_tokens_details'] ?? usage['input_token_details'],
  );
  const outputDetails = asObject(
    usage['completion_tokens_details'] ??
      usage['output_tokens_details'] ??
      usage['output_token_details'],
  );
  // Moonshot and others report cached tokens beside the totals.
  const cached = inputDetails?.['cached_tokens'] ?? usage['cached_tokens'];
  const searches = asObjects(body['output']).filter(({ type }) => type === 'web_search_call');
  return {
    counts: {
      ...split(input, 'input', [
        ['cache_read', optionalCount(cached)],
        ['cache_write', optionalCount(inputDetails?.['cache_write_tokens'])],
        ['input_audio', optionalCount(inputDetails?.['audio_tokens'])],
        ['input_image', optionalCount(inputDetails?.['image_tokens'])],
        ['input_video', optionalCount(inputDetails?.['video_tokens'])],
      ]),
      ...split(output, 'output', [
        ['output_audio', optionalCount(outputDetails?.['audio_tokens'])],
        ['output_image', optionalCount(outputDetails?.['image_tokens'])],
        ['reasoning', optionalCount(outputDetails?.['reasoning_tokens'])],
      ]),
      ...(searches.length === 0 ? {} : { web_search: searches.length }),
    },
    model: optionalText(body['model']),
    tier: tierOf(body['service_tier'] ?? usage['service_tier']),
    chargedUsd: chargeOf(usage),
  };
}

/**
 * Where the total exceeds the sum, the rest is output that was billed but not listed: some servers leave reasoning
 * tokens out. An embedding has no count of output, and its total equals its input.
 */
function totalsOf(usage: JsonObject): { input: number; output: number } | undefined {
  const input = tokenCount(usage['prompt_tokens'] ?? usage['input_tokens']);
  const total = tokenCount(usage['total_tokens']);
  const listed = usage['completion_tokens'] ?? usage['output_tokens'];
  const output = listed === undefined && total !== undefined ? 0 : tokenCount(listed);
  if (input === undefined || output === undefined) return undefined;
  return { input, output: Math.max(output, (total ?? 0) - input) };
}

/** OpenRouter reports its charge, with fees; under a key of one's own it is a fee beside the provider's bill. */
function chargeOf(usage: JsonObject): string | undefined {
  const cost = usage['cost'];
  if (typeof cost !== 'number' || !Number.isFinite(cost) || cost < 0) return undefined;
  return usage['is_byok'] === false ? String(cost) : undefined;
}
