/** The chat completions protocol: OpenAI and what is compatible (Groq, OpenRouter, vLLM, Ollama). */
import type { Protocol } from './protocol.ts';
import { asObject } from './provider-body.ts';
import type { JsonObject } from './provider-body.ts';
import { tokenCount } from './usage.ts';
import type { BilledUsage } from './usage.ts';

export const openAiProtocol: Protocol = {
  kind: 'openai',
  name: 'the chat completions protocol',
  apiKeyVariable: 'OPENAI_API_KEY',
  baseUrlVariable: 'OPENAI_BASE_URL',
  defaultBaseUrl: 'https://api.openai.com/v1',
  needsKey: false,
  hasJsonMode: true,
  open: async ({ baseUrl, apiKey, fetch }, model) => {
    const { createOpenAICompatible } = await import('@ai-sdk/openai-compatible');
    const key = apiKey === undefined ? {} : { apiKey };
    return createOpenAICompatible({ name: 'openai', baseURL: baseUrl, fetch, ...key }).chatModel(
      model,
    );
  },
  wireBody,
  usageOf,
};

/** Names the output cap as this server does. */
function wireBody(
  body: JsonObject,
  { baseUrl, jsonMode }: { baseUrl: string; jsonMode: boolean },
): JsonObject {
  const { max_tokens: cap, ...rest } = body;
  // OpenAI's newer models refuse max_tokens; most other servers know no other name.
  const capName =
    new URL(baseUrl).host === 'api.openai.com' ? 'max_completion_tokens' : 'max_tokens';
  const format = jsonMode ? { response_format: { type: 'json_object' } } : {};
  return { ...rest, [capName]: cap, ...format };
}

/**
 * Where the total exceeds the sum, the rest is output that was billed but not listed: some servers leave
 * reasoning tokens out of `completion_tokens`.
 */
function usageOf(body: JsonObject): BilledUsage | undefined {
  const usage = asObject(body['usage']);
  const input = tokenCount(usage?.['prompt_tokens']);
  const completion = tokenCount(usage?.['completion_tokens']);
  if (usage === undefined || input === undefined || completion === undefined) return undefined;
  const total = tokenCount(usage['total_tokens']) ?? 0;
  const inputDetails = asObject(usage['prompt_tokens_details']);
  const outputDetails = asObject(usage['completion_tokens_details']);
  return {
    inputTokens: input,
    outputTokens: Math.max(completion, total - input),
    cachedTokens: tokenCount(inputDetails?.['cached_tokens']) ?? 0,
    reasoningTokens: tokenCount(outputDetails?.['reasoning_tokens']) ?? 0,
  };
}
