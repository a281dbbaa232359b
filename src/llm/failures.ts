/**
 * What an HTTP failure of a provider means: for the job (fatal, retry, snooze), for the money (released
 * where it was surely not billed, unknown otherwise), and for the operator (one sentence with the fix).
 */
import { LlmError } from './llm.ts';
import type { LlmFailureClass, LlmMoneyOutcome } from './llm.ts';

export interface FailureContext {
  /** Host of the base URL: what an operator recognises. */
  readonly host: string;
  readonly model: string;
  /** The provider's own words, already cleared of key and prompt. */
  readonly said?: ProviderSaid;
  readonly retryAfter?: string | null;
  readonly now?: Date;
}

export interface ProviderSaid {
  readonly message?: string;
  readonly code?: string;
  readonly param?: string;
}

interface Meaning {
  readonly code: string;
  readonly class: LlmFailureClass;
  readonly outcome: LlmMoneyOutcome;
  readonly fix: string;
}

const released = (code: string, fix: string, failureClass: LlmFailureClass = 'fatal'): Meaning => ({
  code,
  class: failureClass,
  outcome: 'released',
  fix,
});
const unknown = (code: string, fix: string): Meaning => ({
  code,
  class: 'retry',
  outcome: 'unknown',
  fix: `${fix}; it may have been billed, so its worst case stays charged`,
});

const meanings: Readonly<Record<number, Meaning>> = {
  400: released('llm_bad_request', 'the request is refused as wrong'),
  401: released('llm_auth', 'the API key is refused; check OPENAI_API_KEY'),
  402: released('llm_quota_exhausted', 'the account at the provider has no credit', 'snooze'),
  403: released(
    'llm_forbidden',
    'the API key may not use this model; check its project and region',
  ),
  404: released(
    'llm_model_not_found',
    'no such model or path; check LLM_MODEL and OPENAI_BASE_URL',
  ),
  408: unknown('llm_timeout', 'the provider gave up waiting'),
  409: released('llm_conflict', 'the provider is busy with the same request', 'retry'),
  413: released('llm_request_too_large', 'the request is too large; send less evidence'),
  422: released('llm_bad_request', 'the request is refused as wrong'),
  425: released('llm_too_early', 'the provider asks to try again', 'retry'),
  429: released('llm_rate_limited', 'too many requests or tokens for this key', 'retry'),
  500: released('llm_provider_error', 'the provider failed', 'retry'),
  503: released('llm_overloaded', 'the provider is overloaded', 'retry'),
  529: released('llm_overloaded', 'the provider is overloaded', 'retry'),
};

const quotaWaitMs = 15 * 60_000;
const minRetryAfterMs = 1000;
const maxRetryAfterMs = 60 * 60_000;

function meaningOf(status: number): Meaning {
  const known = meanings[status];
  if (known !== undefined) return known;
  if (status < 400) {
    return released('llm_redirected', 'the address redirects; set OPENAI_BASE_URL to its target');
  }
  if (status < 500) return released('llm_bad_request', 'the request is refused');
  return unknown('llm_gateway_error', 'a gateway answered for the provider');
}

/** The error of a response that is not 2xx. */
export function failureOfStatus(status: number, context: FailureContext): LlmError {
  let { code, class: failureClass, outcome, fix } = meaningOf(status);
  const { host, model, said } = context;
  let retryAfterMs = parseRetryAfter(context.retryAfter, context.now ?? new Date());
  if (status === 429 && retryAfterMs !== undefined) failureClass = 'snooze';
  if (status === 429 && said?.code === 'insufficient_quota') {
    code = 'llm_quota_exhausted';
    fix = 'the account at the provider has no credit; top it up';
    failureClass = 'snooze';
  }
  if (code === 'llm_quota_exhausted') retryAfterMs ??= quotaWaitMs;
  if (said?.code === 'context_length_exceeded') {
    code = 'llm_request_too_large';
    fix = 'prompt and output do not fit into the context of the model; send less evidence';
  }
  const words = said?.message === undefined ? '' : ` (the provider says: ${said.message})`;
  return new LlmError(code, `${host} answered ${status} for model ${model}: ${fix}${words}`, {
    class: failureClass,
    outcome,
    providerStatus: status,
    host,
    model,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(said?.code === undefined ? {} : { providerCode: said.code }),
    ...(said?.param === undefined ? {} : { providerParam: said.param }),
  });
}

/** RFC 9110 section 10.2.3: seconds or an HTTP date; between one second and one hour from now. */
function parseRetryAfter(header: string | null | undefined, now: Date): number | undefined {
  const text = header?.trim() ?? '';
  if (text === '') return undefined;
  const waitMs = /^\d+(\.\d+)?$/.test(text)
    ? Number(text) * 1000
    : Date.parse(text) - now.getTime();
  if (Number.isNaN(waitMs)) return undefined;
  return Math.ceil(Math.min(Math.max(waitMs, minRetryAfterMs), maxRetryAfterMs));
}

/** Failures of the way there: the connection was never made, so nothing can have been billed. */
const neverSent = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'UND_ERR_CONNECT_TIMEOUT',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/** The error of a fetch that gave no response, or none to its end. */
export function failureOfNetwork(thrown: unknown, host: string): LlmError {
  const causes = causesOf(thrown);
  const code =
    causes.find((cause) => cause.code !== undefined)?.code ?? causes.at(-1)?.message ?? 'no code';
  // "bad port": fetch refuses some ports before it connects (fetch.spec.whatwg.org, section 2.9).
  const unsent = causes.some(
    ({ code, syscall, message }) =>
      neverSent.has(code ?? '') || syscall === 'connect' || message === 'bad port',
  );
  if (unsent) {
    return new LlmError(
      'llm_unreachable',
      `cannot connect to ${host} (${code}); nothing was sent; check OPENAI_BASE_URL and the network`,
      { class: 'retry', outcome: 'released', host },
    );
  }
  return new LlmError(
    'llm_connection_lost',
    `the connection to ${host} broke after the request had left (${code}); it may have been billed, ` +
      'so its worst case stays charged',
    { class: 'retry', outcome: 'unknown', host },
  );
}

interface Cause {
  readonly code: string | undefined;
  readonly syscall: string | undefined;
  readonly message: string;
}

function causesOf(thrown: unknown): Cause[] {
  const found: Cause[] = [];
  const visit = (value: unknown, depth: number): void => {
    if (!(value instanceof Error) || depth > 5) return;
    const text = (key: string): string | undefined => {
      const field: unknown = Reflect.get(value, key);
      return typeof field === 'string' ? field : undefined;
    };
    found.push({ code: text('code'), syscall: text('syscall'), message: value.message });
    visit(value.cause, depth + 1);
    if (value instanceof AggregateError) for (const one of value.errors) visit(one, depth + 1);
  };
  visit(thrown, 0);
  return found;
}
