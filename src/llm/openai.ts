/** The chat completions protocol: OpenAI and what is compatible (Groq, OpenRouter, vLLM, Ollama). */
import type { Protocol } from './protocol.ts';
import type { JsonObject } from './provider-body.ts';
import { openAiEvents } from './streams/openai.ts';
import { sellerOf } from './tokens/sellers.ts';
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
  readEvents: openAiEvents,
  clientRequestIdHeader: 'x-client-request-id',
  requestIdHeader: 'x-request-id',
  // Servers without the header list their calls by the id of the answer: OpenRouter, vLLM.
  requestIdOf: (body) => body['id'],
};

/** Names the output cap as this server does. */
function wireBody(
  body: JsonObject,
  { baseUrl, jsonMode }: { baseUrl: string; jsonMode: boolean },
): JsonObject {
  const { max_tokens: cap, ...rest } = body;
  // OpenAI's newer models refuse max_tokens; most other servers know no other name.
  const seller = sellerOf(baseUrl);
  const capName = seller === 'openai' ? 'max_completion_tokens' : 'max_tokens';
  // The default of a project, or of a deployment at Azure, may be another tier, at another price.
  const hasTiers = seller === 'openai' || seller === 'azure';
  const tier = hasTiers ? { service_tier: 'default' } : {};
  // Without this no chunk has usage.
  const usage = body['stream'] === true ? { stream_options: { include_usage: true } } : {};
  const format = jsonMode ? { response_format: { type: 'json_object' } } : {};
  return { ...rest, [capName]: cap, ...tier, ...usage, ...format };
}
