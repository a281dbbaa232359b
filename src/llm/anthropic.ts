/** Anthropic's messages protocol. JSON is requested in the prompt only, which works with every model. */
import type { Protocol } from './protocol.ts';
import { asObject } from './provider-body.ts';
import { anthropicEvents } from './streams/anthropic.ts';
import { anthropicUsage } from './usage/anthropic.ts';

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
  // The default, `auto`, may use priority capacity at another price.
  wireBody: (body, { baseUrl }) =>
    new URL(baseUrl).host === 'api.anthropic.com'
      ? { ...body, service_tier: 'standard_only' }
      : body,
  usageOf: anthropicUsage,
  readEvents: anthropicEvents,
  requestIdHeader: 'request-id',
  requestIdOf: (body) => body['request_id'] ?? body['id'] ?? asObject(body['message'])?.['id'],
};
