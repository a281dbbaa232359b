/**
 * The provider's own words about a failure, in any of the protocols: what they mean beyond the HTTP
 * status, and as much of them as gives nothing away.
 */
import { asObject, asObjects, parseObject } from './provider-body.ts';
import type { JsonObject } from './provider-body.ts';

/** What a refusal is about where its status alone does not tell. */
type Complaint = 'key' | 'credit' | 'size' | 'json_mode';

export interface ProviderSaid {
  readonly about?: Complaint;
  readonly message?: string;
  readonly code?: string;
  readonly param?: string;
  /** A wait that stands in the body (Google's RetryInfo), in milliseconds. */
  readonly retryAfterMs?: number;
}

/** Codes and phrases as the providers write them; a phrase is looked for in the whole message. */
const complaints: readonly { about: Complaint; codes: readonly string[]; phrases: RegExp }[] = [
  {
    about: 'key',
    codes: ['API_KEY_INVALID', 'API_KEY_EXPIRED'],
    phrases: /API key (not valid|expired)/i,
  },
  {
    about: 'credit',
    codes: ['insufficient_quota', 'billing_error'],
    phrases: /credit balance is too low/i,
  },
  {
    about: 'size',
    codes: ['context_length_exceeded'],
    phrases:
      /prompt is too long|maximum context length|input token count .{0,40}exceeds|exceeds the maximum number of tokens/i,
  },
  {
    about: 'json_mode',
    codes: ['response_format'],
    phrases: /response_format|json mode is not|response_?mime_?type|mimeType parameter/i,
  },
];

const maxQuoted = 200;
const echoWindow = 16;

/**
 * Reads a failure's body. The key is masked, and a message that repeats part of the request is dropped:
 * validation errors of some servers quote the prompt.
 */
export function saidBy(body: string, request: string, apiKey: string | undefined): ProviderSaid {
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
  const message = echoes(raw, request) ? '' : quotable(raw, apiKey);
  const about = complaints.find(
    ({ codes, phrases }) =>
      codes.includes(code ?? '') || codes.includes(param ?? '') || phrases.test(raw),
  )?.about;
  const retryAfterMs = retryDelayMs(details);
  return {
    ...(about === undefined ? {} : { about }),
    ...(code === undefined ? {} : { code }),
    ...(param === undefined ? {} : { param }),
    ...(message === '' ? {} : { message }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  };
}

/** A shorter key is a stand-in for servers that ask for none, and could be part of any word. */
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

function echoes(message: string, request: string): boolean {
  const head = message.slice(0, maxQuoted * 4);
  for (let at = 0; at + echoWindow <= head.length; at += 1) {
    if (request.includes(head.slice(at, at + echoWindow))) return true;
  }
  return false;
}
