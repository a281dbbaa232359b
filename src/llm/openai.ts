/** The chat completions protocol: OpenAI and what is compatible (Groq, OpenRouter, vLLM, Ollama). */
import type { Protocol } from './protocol.ts';
import type { JsonObject } from './provider-body.ts';
import { openAiUsage } from './usage/openai.ts';

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
  usageOf: openAiUsage,
  clientRequestIdHeader: 'x-client-request-id',
};

/** Names the output cap as this server does. */
function wireBody(
  body: JsonObject,
  { baseUrl, jsonMode }: { baseUrl: string; jsonMode: boolean },
): JsonObject {
  const { max_tokens: cap, ...rest } = body;
  // OpenAI's newer models refuse max_tokens; most other servers know no other name.
  const isOpenAi = new URL(baseUrl).host === 'api.openai.com';
  const capName = isOpenAi ? 'max_completion_tokens' : 'max_tokens';
  // A project's default may be another tier, at another price.
  const tier = isOpenAi ? { service_tier: 'default' } : {};
  const format = jsonMode ? { response_format: { type: 'json_object' } } : {};
  return { ...rest, [capName]: cap, ...tier, ...format };
}
