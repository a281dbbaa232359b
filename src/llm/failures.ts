/**
 * Maps a failed exchange to its consequences: for the job (fatal, retry, snooze), for the hold (released
 * where the request was certainly not billed, unknown otherwise), and a message with the fix.
 */
import { subscribe } from 'node:diagnostics_channel';
import { boundedRetryMs, parseRetryAfter } from '../retry-after.ts';
import { LlmError } from './llm.ts';
import type { LlmFailureClass, LlmMoneyOutcome } from './llm.ts';
import type { Protocol } from './protocol.ts';
import type { ProviderError } from './provider-error.ts';

export interface FailureContext {
  /** Host of the base URL. */
  readonly host: string;
  readonly protocol: Pick<Protocol, 'apiKeyVariable' | 'baseUrlVariable'>;
  readonly model: string;
  /** Without the API key and the prompt. */
  readonly providerError?: ProviderError;
  readonly retryAfter?: string | null;
  readonly now?: Date;
}

interface StatusRule {
  readonly code: string;
  readonly class: LlmFailureClass;
  readonly outcome: LlmMoneyOutcome;
  readonly fix: string;
}

const released = (
  code: string,
  fix: string,
  failureClass: LlmFailureClass = 'fatal',
): StatusRule => ({
  code,
  class: failureClass,
  outcome: 'released',
  fix,
});
const unknown = (code: string, fix: string): StatusRule => ({
  code,
  class: 'retry',
  outcome: 'unknown',
  fix: `${fix}; it may have been billed, so its worst case stays charged`,
});

/** `{key}` and `{url}` are replaced by the variables of the provider. */
const wrongKey = released('llm_auth', 'the API key is refused; check {key}');
const noCredit = released(
  'llm_quota_exhausted',
  'the account at the provider has no credit; top it up',
  'snooze',
);
const tooLarge = released('llm_request_too_large', 'the request is too large; send less evidence');
const billedTooLarge: StatusRule = { ...tooLarge, outcome: 'unknown' };
const wrongRequest = released(
  'llm_bad_request',
  'the request is refused as wrong and would be again; check that LLM_MODEL takes chat requests',
);
const overloaded = released(
  'llm_overloaded',
  'the provider is overloaded; it is asked again later',
  'retry',
);

const rulesByStatus: Readonly<Record<number, StatusRule>> = {
  400: wrongRequest,
  401: wrongKey,
  402: noCredit,
  403: released(
    'llm_forbidden',
    'the API key in {key} may not use this model; check its project and region',
  ),
  404: released('llm_model_not_found', 'no such model or path; check LLM_MODEL and {url}'),
  408: unknown('llm_timeout', 'the provider gave up waiting'),
  409: released('llm_conflict', 'the provider is busy with the same request', 'retry'),
  413: tooLarge,
  422: wrongRequest,
  425: released('llm_too_early', 'the provider asks to try again', 'retry'),
  429: released(
    'llm_rate_limited',
    'too many requests or tokens for this key; raise its limit there or lower WORKER_CONCURRENCY',
    'retry',
  ),
  500: released('llm_provider_error', 'the provider failed; it is asked again later', 'retry'),
  503: overloaded,
  529: overloaded,
};

/** What the words of a refusal mean, where its status is a general one. */
const rulesByTopic: Readonly<Partial<Record<NonNullable<ProviderError['topic']>, StatusRule>>> = {
  key: wrongKey,
  credit: noCredit,
  size: released(
    'llm_request_too_large',
    'prompt and output do not fit into the context of the model; send less evidence',
  ),
};
/** Azure bills the prompt of a request that its content filter refuses, and of one above the input limit. */
const refusedContent: StatusRule = {
  code: 'llm_refused',
  class: 'fatal',
  outcome: 'unknown',
  fix: 'the content filter refuses the request, and the provider may bill it, so its worst case stays charged; change the prompt',
};
const azureHost = /\.(azure\.com|azure-api\.net)$/;

/** Statuses whose meaning depends on the body. */
const ambiguousStatuses = new Set([400, 403, 413, 422, 429]);

/** Not caused by the job: with a retry delay of the provider the job waits and uses no attempt. */
const snoozedCodes = new Set(['llm_rate_limited', 'llm_overloaded']);
const quotaWaitMs = 15 * 60_000;

function ruleOf(status: number, error: ProviderError | undefined, host: string): StatusRule {
  if (error?.topic === 'content' && status === 400) return refusedContent;
  if (error?.topic === 'size' && azureHost.test(host)) return billedTooLarge;
  const byTopic = error?.topic === undefined ? undefined : rulesByTopic[error.topic];
  const known = (ambiguousStatuses.has(status) ? byTopic : undefined) ?? rulesByStatus[status];
  if (known !== undefined) return known;
  if (status < 400) {
    return released('llm_redirected', 'the address redirects; set {url} to its target');
  }
  if (status < 500) return released('llm_bad_request', 'the request is refused');
  return unknown('llm_gateway_error', 'a gateway answered for the provider');
}

/** The error of a response that is not 2xx. */
export function failureOfStatus(status: number, context: FailureContext): LlmError {
  const { host, model, providerError, protocol } = context;
  const rule = ruleOf(status, providerError, host);
  const { code, outcome } = rule;
  const asked =
    parseRetryAfter(context.retryAfter, context.now ?? new Date()) ??
    boundedRetryMs(providerError?.retryAfterMs);
  const retryAfterMs = asked ?? (code === 'llm_quota_exhausted' ? quotaWaitMs : undefined);
  const waits = retryAfterMs !== undefined && snoozedCodes.has(code);
  const failureClass = waits ? 'snooze' : rule.class;
  const fix = fillVariables(protocol, rule.fix);
  const quoted =
    providerError?.message === undefined ? '' : ` (the provider says: ${providerError.message})`;
  return new LlmError(code, `${host} answered ${status} for model ${model}: ${fix}${quoted}`, {
    class: failureClass,
    outcome,
    providerStatus: status,
    host,
    model,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(providerError?.code === undefined ? {} : { providerCode: providerError.code }),
    ...(providerError?.param === undefined ? {} : { providerParam: providerError.param }),
    ...(providerError?.topic === undefined ? {} : { topic: providerError.topic }),
  });
}

function fillVariables(protocol: FailureContext['protocol'], fix: string): string {
  return fix.replace('{key}', protocol.apiKeyVariable).replace('{url}', protocol.baseUrlVariable);
}

/** The connection was never made, so nothing can have been billed. */
const connectFailureCodes = new Set([
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

/** What fetch could not connect for, a failed TLS handshake among them: its codes alone do not tell when it failed. */
const connectErrors = new WeakSet<Error>();
subscribe('undici:client:connectError', (message) => {
  const error: unknown =
    typeof message === 'object' && message !== null ? Reflect.get(message, 'error') : undefined;
  if (error instanceof Error) connectErrors.add(error);
});
/** Of a URL that fetch refuses before it connects: for its port (fetch.spec.whatwg.org, section 2.9), or credentials. */
const refusedByFetch = /^(?:bad port$|Request cannot be constructed|Failed to parse URL)/;

/** Nothing was sent, so an outage of the provider or of the network uses no attempt: the job waits. */
const unreachableRetryMs = 30_000;

/** Half to one and a half of `ms`, so that waiting jobs do not return at the same time. */
function jitterMs(ms: number): number {
  return Math.round(ms * (0.5 + Math.random()));
}

/** The error of a fetch that gave no complete response. */
export function failureOfNetwork(
  thrown: unknown,
  host: string,
  protocol: Pick<Protocol, 'baseUrlVariable'>,
): LlmError {
  const causes = causesOf(thrown);
  const found =
    causes.find((cause) => cause.code !== undefined)?.code ?? causes.at(-1)?.message ?? 'no code';
  // A message about a URL quotes it, with the password that it may contain.
  const code = found.replaceAll(/\/\/[^/\s]*@/g, '//[redacted]@');
  const unsent = causes.some(
    ({ error, code, syscall, message }) =>
      connectErrors.has(error) ||
      connectFailureCodes.has(code ?? '') ||
      syscall === 'connect' ||
      refusedByFetch.test(message),
  );
  if (unsent) {
    return new LlmError(
      'llm_unreachable',
      `cannot connect to ${host} (${code}); nothing was sent; check ${protocol.baseUrlVariable} and the network`,
      { class: 'snooze', outcome: 'released', host, retryAfterMs: jitterMs(unreachableRetryMs) },
    );
  }
  return new LlmError(
    'llm_connection_lost',
    `the connection to ${host} broke after the request was sent (${code}); it may have been billed, ` +
      'so its worst case stays charged',
    { class: 'retry', outcome: 'unknown', host },
  );
}

interface Cause {
  readonly error: Error;
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
    const { message } = value;
    found.push({ error: value, code: text('code'), syscall: text('syscall'), message });
    visit(value.cause, depth + 1);
    if (value instanceof AggregateError) for (const one of value.errors) visit(one, depth + 1);
  };
  visit(thrown, 0);
  return found;
}
