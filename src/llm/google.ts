/** Google's generateContent protocol (the Gemini API). The key travels in a header, never in the URL. */
import type { Protocol } from './protocol.ts';
import { asObject, parseObject } from './provider-body.ts';
import { googleEvents } from './streams/google.ts';
import { googleUsage } from './usage/google.ts';

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
  usageOf: googleUsage,
  readEvents: googleEvents,
  requestIdOf: (body) => body['responseId'],
  readableAnswer: withoutContinuation,
};

/** Without the token, because the SDK would send a second request for the continuation. */
function withoutContinuation(text: string): string {
  if (!text.includes('continuationToken')) return text;
  return JSON.stringify(parseObject(text), dropContinuation) ?? text;
}

function dropContinuation(key: string, value: unknown): unknown {
  return key === 'continuationToken' ? undefined : value;
}
