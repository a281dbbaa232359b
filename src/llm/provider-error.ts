/**
 * Reads the error body of any of the protocols: what it says beyond the HTTP status, and its message with
 * the API key masked and parts of the prompt removed.
 */
import { asObject, asObjects, parseObject } from './provider-body.ts';
import type { JsonObject } from './provider-body.ts';
import { sharesPassage } from './shared-text.ts';

/** The subject of an error, where its status alone does not tell. */
type ErrorTopic = 'key' | 'credit' | 'size' | 'json_mode' | 'content';

export interface ProviderError {
  readonly topic?: ErrorTopic;
  readonly message?: string;
  readonly code?: string;
  readonly param?: string;
  /** Google's RetryInfo in the body, in milliseconds. */
  readonly retryAfterMs?: number;
}

/** Codes and phrases of the providers; a phrase is searched in the whole message. */
const topics: readonly { topic: ErrorTopic; codes: readonly string[]; phrases: RegExp }[] = [
  {
    topic: 'key',
    codes: ['API_KEY_INVALID', 'API_KEY_EXPIRED'],
    phrases: /API key (not valid|expired)/i,
  },
  {
    topic: 'credit',
    codes: ['insufficient_quota', 'billing_error'],
    phrases: /credit balance is too low/i,
  },
  {
    topic: 'size',
    codes: ['context_length_exceeded'],
    phrases:
      /prompt is too long|maximum context length|input token count .{0,40}exceeds|exceeds the maximum number of tokens/i,
  },
  {
    topic: 'content',
    codes: ['content_filter'],
    phrases: /content management policy|filtered due to the prompt/i,
  },
  {
    topic: 'json_mode',
    codes: ['response_format'],
    phrases: /response_format|json mode is not|response_?mime_?type|mimeType parameter/i,
  },
];

const maxQuoted = 200;
const echoWindow = 16;

/**
 * A message that repeats part of the request is dropped: validation errors of some servers quote the prompt.
 */
export function readProviderError(
  body: string,
  request: string,
  apiKey: string | undefined,
): ProviderError {
  const parsed = parseObject(body);
  const error = asObject(parsed?.['error']) ?? parsed ?? {};
  const details = asObjects(error['details']);
  const word = (value: unknown): string | undefined => {
    const found = wordOf(value);
    return found !== undefined && repeats(found, apiKey) ? undefined : found;
  };
  const code =
    word(error['code']) ??
    details.map((detail) => word(detail['reason'])).find((reason) => reason !== undefined) ??
    word(error['type']) ??
    word(error['status']);
  const param = word(error['param']);
  const raw = typeof error['message'] === 'string' ? error['message'] : '';
  const message = repeatsRequest(raw, request) ? '' : quotable(raw, apiKey);
  const topic = topics.find(
    ({ codes, phrases }) =>
      codes.includes(code ?? '') || codes.includes(param ?? '') || phrases.test(raw),
  )?.topic;
  const retryAfterMs = retryDelayMs(details);
  return {
    ...(topic === undefined ? {} : { topic }),
    ...(code === undefined ? {} : { code }),
    ...(param === undefined ? {} : { param }),
    ...(message === '' ? {} : { message }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  };
}

/** A shorter key is a placeholder for a server that needs none, and could occur in any word. */
const minKeyLength = 8;

const repeats = (text: string, apiKey = ''): boolean =>
  apiKey.length >= minKeyLength && text.includes(apiKey);

function wordOf(value: unknown): string | undefined {
  return typeof value === 'string' && /^[\w.-]{1,60}$/.test(value) ? value : undefined;
}

/** `google.rpc.RetryInfo.retryDelay`, a protobuf Duration as JSON: "37s", "0.5s". */
function retryDelayMs(details: readonly JsonObject[]): number | undefined {
  for (const { retryDelay } of details) {
    const seconds = typeof retryDelay === 'string' ? /^(\d+(?:\.\d+)?)s$/.exec(retryDelay) : null;
    if (seconds !== null) return Number(seconds[1]) * 1000;
  }
  return undefined;
}

function quotable(message: string, apiKey: string | undefined): string {
  const masked =
    apiKey === undefined || apiKey === '' ? message : message.replaceAll(apiKey, '[key]');
  return masked
    .replace(/\b(sk|gsk|key|pk)[-_][\w*.-]+/gi, '[key]')
    .replace(/\bAIza[\w*.-]+/g, '[key]')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, maxQuoted);
}

function repeatsRequest(message: string, request: string): boolean {
  return sharesPassage(message.slice(0, maxQuoted * 4), request, echoWindow);
}
