/** Sends one request to a provider and reads its response. The only call of `fetch` to a provider. */
import { failureOfNetwork, failureOfStatus } from './failures.ts';
import { namingKey, withKeyOwner } from './keys/own-key.ts';
import type { OwnKey } from './keys/own-key.ts';
import { LlmError } from './llm.ts';
import type { Protocol } from './protocol.ts';
import { asObject, BodyTooLarge, parseObject, readBody } from './provider-body.ts';
import { readProviderError } from './provider-error.ts';
import type { ReportedUsage } from './usage/reported.ts';
import { requestIdIn } from './usage/request-id.ts';

export interface SendRequest {
  readonly url: string;
  readonly headers: Headers;
  /** The serialised JSON, as it will be sent. */
  readonly body: string;
  /** The cap that the body contains. */
  readonly maxOutputTokens: number;
  readonly protocol: Protocol;
  readonly model: string;
  readonly timeoutMs: number;
  readonly maxResponseBytes: number;
  readonly apiKey: string | undefined;
  /** Whose key that is, where it is not the platform's. */
  readonly ownKey?: OwnKey | undefined;
}

/** A response with a status of success. */
export interface Answer {
  readonly text: string;
  readonly status: number;
  readonly headers: Headers;
}

export interface Failure {
  /** Its `details.outcome` is `released` or `unknown`; usage in the body overrides it. */
  readonly error: LlmError;
  /** Usage in the body of a failed request, which the provider bills. */
  readonly usage?: ReportedUsage;
  /** The provider's id of the request, as far as it answered. */
  readonly requestId?: string | undefined;
}

const maxErrorBytes = 64 * 1024;

export async function send(request: SendRequest, signal: AbortSignal): Promise<Answer | Failure> {
  const timeout = AbortSignal.timeout(request.timeoutMs);
  let received: Headers | undefined;
  try {
    const response = await post(request, AbortSignal.any([signal, timeout]));
    if (!response.ok) return await failureOfResponse(request, response);
    const { status, headers } = response;
    received = headers;
    return { text: await readBody(response, request.maxResponseBytes), status, headers };
  } catch (error) {
    const how = { aborted: signal.aborted, timedOut: timeout.aborted };
    return identified(failureOf(error, request, how), requestIdIn(request.protocol, received));
  }
}

/** Resolves with the head of the response. Throws what `fetch` throws. */
export function post(request: SendRequest, signal: AbortSignal): Promise<Response> {
  return fetch(request.url, {
    method: 'POST',
    headers: request.headers,
    body: request.body,
    // A redirect would be a second request under one hold, and could send the prompt to another host.
    redirect: 'manual',
    signal,
  });
}

/** Of a response that is not 2xx. */
export async function failureOfResponse(
  request: SendRequest,
  response: Response,
): Promise<Failure> {
  const text = await readBody(response, maxErrorBytes).catch(() => '');
  const { error, usage } = failedStatus(request, response, text);
  const requestId = requestIdIn(request.protocol, response.headers, text);
  return { ...identified(error, requestId), ...(usage === undefined ? {} : { usage }) };
}

/** The provider's support asks for the id. */
function identified(error: LlmError, requestId: string | undefined): Failure {
  if (requestId !== undefined) error.details['requestId'] = requestId;
  return { error, requestId };
}

function failedStatus(request: SendRequest, { status, headers }: Response, text: string): Failure {
  const { protocol, model, ownKey } = request;
  const found = failureOfStatus(status, {
    host: new URL(request.url).host,
    protocol: namingKey(protocol, ownKey),
    model,
    // An error may name the model, which is in the request and not secret.
    providerError: readProviderError(text, request.body.replaceAll(model, ''), request.apiKey),
    retryAfter: headers.get('retry-after'),
  });
  const error = ownKey === undefined ? found : withKeyOwner(found, ownKey);
  const billed = usageOfFailure(text, protocol);
  if (billed === undefined) return { error };
  if (billed === 'unreadable') return { error: withOutcome(error, 'unknown') };
  return { error: withOutcome(error, 'settled'), usage: billed };
}

function withOutcome(error: LlmError, outcome: 'unknown' | 'settled'): LlmError {
  const { code, message, details } = error;
  const sentence =
    outcome === 'settled' ? 'was charged' : 'may have been billed, so its worst case stays charged';
  return new LlmError(code, `${message}; the response contains usage: it ${sentence}`, {
    class: 'retry',
    ...details,
    outcome,
  });
}

/** Usage in the error body: at its top or within its `error` or `response`. */
function usageOfFailure(
  text: string,
  protocol: Protocol,
): ReportedUsage | 'unreadable' | undefined {
  const body = parseObject(text);
  const places = [body, asObject(body?.['error']), asObject(body?.['response'])].filter(
    (place) => place !== undefined,
  );
  for (const place of places) {
    const usage = protocol.usageOf(place);
    if (usage !== undefined) return usage;
  }
  const mentioned = places.some(
    (place) => asObject(place['usage'] ?? place['usageMetadata']) !== undefined,
  );
  return mentioned ? 'unreadable' : undefined;
}

/** Of an exchange that gave no complete response. */
export function failureOf(
  thrown: unknown,
  request: SendRequest,
  { aborted, timedOut }: { aborted: boolean; timedOut: boolean },
): LlmError {
  const { protocol, timeoutMs } = request;
  const { host } = new URL(request.url);
  if (thrown instanceof BodyTooLarge) {
    return new LlmError(
      'llm_response_too_large',
      `${host} sent more than ${request.maxResponseBytes} bytes for an answer of at most ` +
        `${request.maxOutputTokens} tokens; check ${protocol.baseUrlVariable}; the worst case stays charged`,
      { class: 'fatal', outcome: 'unknown', host },
    );
  }
  if (aborted) {
    return new LlmError(
      'llm_aborted',
      `the attempt ended while ${host} was working; the request may have been billed, so its worst case stays charged`,
      { class: 'retry', outcome: 'unknown', host },
    );
  }
  if (timedOut) {
    return new LlmError(
      'llm_timeout',
      `${host} did not finish its answer within ${timeoutMs} ms; it may have been billed, so its ` +
        'worst case stays charged; raise LLM_TIMEOUT_SECONDS (or timeoutMs of this call) if it needs longer',
      { class: 'retry', outcome: 'unknown', host },
    );
  }
  return failureOfNetwork(thrown, host, protocol);
}
