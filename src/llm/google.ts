/** Google's generateContent protocol (the Gemini API). The key travels in a header, never in the URL. */
import type { Protocol } from './protocol.ts';
import { asObject, parseObject } from './provider-body.ts';
import type { JsonObject } from './provider-body.ts';
import { tokenCount } from './usage.ts';
import type { BilledUsage } from './usage.ts';

export const googleProtocol: Protocol = {
  kind: 'google',
  name: 'the generateContent protocol',
  apiKeyVariable: 'GOOGLE_API_KEY',
  baseUrlVariable: 'GOOGLE_BASE_URL',
  defaultBaseUrl: 'https://generativelanguage.googleapis.com/v1beta',
  defaultPath: '/v1beta',
  needsKey: true,
  hasJsonMode: true,
  open: async ({ baseUrl, apiKey = '', fetch }, model) => {
    const { createGoogleGenerativeAI } = await import('@ai-sdk/google');
    return createGoogleGenerativeAI({ baseURL: baseUrl, apiKey, fetch }).chat(model);
  },
  wireBody: (body, { jsonMode }) =>
    jsonMode
      ? {
          ...body,
          generationConfig: {
            ...asObject(body['generationConfig']),
            responseMimeType: 'application/json',
          },
        }
      : body,
  usageOf,
  readableAnswer: withoutContinuation,
};

/**
 * Thoughts are billed as output and not included in the candidates. Protobuf leaves zeros out of its JSON,
 * so a missing count is zero where the total is present; what the total has beyond the parts is output. ai.google.dev, GenerateContentResponse, UsageMetadata.
 */
function usageOf(body: JsonObject): BilledUsage | undefined {
  const usage = asObject(body['usageMetadata']);
  if (usage === undefined) return undefined;
  const count = (name: string) => tokenCount(usage[name] ?? 0);
  const prompt = tokenCount(usage['promptTokenCount']);
  const total = tokenCount(usage['totalTokenCount']);
  const toolPrompt = count('toolUsePromptTokenCount');
  const candidates = count('candidatesTokenCount');
  const thoughts = count('thoughtsTokenCount');
  if (prompt === undefined || toolPrompt === undefined) return undefined;
  if (candidates === undefined || thoughts === undefined) return undefined;
  if (usage['candidatesTokenCount'] === undefined && total === undefined) return undefined;
  const input = prompt + toolPrompt;
  return {
    inputTokens: input,
    outputTokens: Math.max(candidates + thoughts, (total ?? 0) - input),
    cachedTokens: count('cachedContentTokenCount') ?? 0,
    reasoningTokens: thoughts,
  };
}

/** Without the token, because the SDK would send a second request for the continuation. */
function withoutContinuation(text: string): string {
  if (!text.includes('continuationToken')) return text;
  return JSON.stringify(parseObject(text), dropContinuation) ?? text;
}

function dropContinuation(key: string, value: unknown): unknown {
  return key === 'continuationToken' ? undefined : value;
}
