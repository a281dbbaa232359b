/** Reads what a provider sends back: bounded in size, and quoted only where it gives nothing away. */
import type { ProviderSaid } from './failures.ts';
import type { TokenUsage } from '../budget/settle.ts';

export class BodyTooLarge extends Error {}

/** The body as text. Throws `BodyTooLarge` as soon as it passes `maxBytes`, without reading on. */
export async function readBody(response: Response, maxBytes: number): Promise<string> {
  if (response.body === null) return '';
  const decoder = new TextDecoder();
  let bytes = 0;
  let text = '';
  for await (const chunk of response.body) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) throw new BodyTooLarge();
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    return asObject(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function asObject(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value))
    : undefined;
}

/** No call has more; a figure beyond it is a fault, not a bill. */
const maxTokens = 1e9;

function tokens(value: unknown): number | undefined {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) return undefined;
  return value >= 0 && value <= maxTokens ? value : undefined;
}

/**
 * Usage of a chat completion, or undefined where it is missing or makes no sense; an explicit zero
 * counts. Where the total is more than the sum, the rest is output that was billed and not listed
 * (some servers leave reasoning tokens out of `completion_tokens`).
 */
export function usageOf(body: string): TokenUsage | undefined {
  const usage = asObject(parseObject(body)?.['usage']);
  const input = tokens(usage?.['prompt_tokens']);
  const completion = tokens(usage?.['completion_tokens']);
  if (usage === undefined || input === undefined || completion === undefined) return undefined;
  const total = tokens(usage['total_tokens']) ?? 0;
  return {
    inputTokens: input,
    outputTokens: Math.max(completion, total - input),
    cachedTokens: tokens(asObject(usage['prompt_tokens_details'])?.['cached_tokens']) ?? 0,
    reasoningTokens:
      tokens(asObject(usage['completion_tokens_details'])?.['reasoning_tokens']) ?? 0,
  };
}

const maxQuoted = 200;
const echoWindow = 16;

/**
 * The provider's own words about a failure. The key is masked, and a message that repeats part of the
 * request is dropped: validation errors of some servers quote the prompt.
 */
export function saidBy(body: string, request: string, apiKey: string | undefined): ProviderSaid {
  const parsed = parseObject(body);
  const error = asObject(parsed?.['error']) ?? parsed;
  const word = (key: string): string | undefined => {
    const value = error?.[key];
    return typeof value === 'string' && /^[\w.-]{1,60}$/.test(value) ? value : undefined;
  };
  const code = word('code') ?? word('type');
  const param = word('param');
  const raw = error?.['message'];
  const message =
    typeof raw === 'string' && !echoes(raw, request) ? quotable(raw, apiKey) : undefined;
  return {
    ...(code === undefined ? {} : { code }),
    ...(param === undefined ? {} : { param }),
    ...(message === undefined || message === '' ? {} : { message }),
  };
}

function quotable(message: string, apiKey: string | undefined): string {
  const masked =
    apiKey === undefined || apiKey === '' ? message : message.replaceAll(apiKey, '[key]');
  return masked
    .replace(/\b(sk|gsk|key|pk)[-_][\w*.-]+/gi, '[key]')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, maxQuoted);
}

function echoes(message: string, request: string): boolean {
  const head = message.slice(0, maxQuoted * 4);
  for (let at = 0; at + echoWindow <= head.length; at += 1) {
    if (request.includes(head.slice(at, at + echoWindow))) return true;
  }
  return false;
}
