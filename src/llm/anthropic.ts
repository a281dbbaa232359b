/** Anthropic's messages protocol. JSON is requested in the prompt only, which works with every model. */
import type { Protocol } from './protocol.ts';
import { asObject } from './provider-body.ts';
import type { JsonObject } from './provider-body.ts';
import { tokenCount } from './usage.ts';
import type { BilledUsage } from './usage.ts';

export const anthropicProtocol: Protocol = {
  kind: 'anthropic',
  name: 'the Anthropic messages protocol',
  apiKeyVariable: 'ANTHROPIC_API_KEY',
  baseUrlVariable: 'ANTHROPIC_BASE_URL',
  defaultBaseUrl: 'https://api.anthropic.com/v1',
  // Anthropic's own tools set this variable without the version.
  defaultPath: '/v1',
  needsKey: true,
  hasJsonMode: false,
  open: async ({ baseUrl, apiKey = '', fetch }, model) => {
    const { createAnthropic } = await import('@ai-sdk/anthropic');
    return createAnthropic({ baseURL: baseUrl, apiKey, fetch }).messages(model);
  },
  wireBody: (body) => body,
  usageOf,
};

/**
 * `input_tokens` excludes tokens that were read from the cache or written to it; `output_tokens` includes
 * thinking. docs.claude.com, "Messages", field `usage`.
 */
function usageOf(body: JsonObject): BilledUsage | undefined {
  const usage = asObject(body['usage']);
  const fresh = tokenCount(usage?.['input_tokens']);
  const output = tokenCount(usage?.['output_tokens']);
  const written = tokenCount(usage?.['cache_creation_input_tokens'] ?? 0);
  const read = tokenCount(usage?.['cache_read_input_tokens'] ?? 0);
  if (fresh === undefined || output === undefined) return undefined;
  if (written === undefined || read === undefined) return undefined;
  return {
    inputTokens: fresh + written + read,
    outputTokens: output,
    cachedTokens: read,
    cacheWriteTokens: written,
    reasoningTokens:
      tokenCount(asObject(usage?.['output_tokens_details'])?.['thinking_tokens']) ?? 0,
  };
}
