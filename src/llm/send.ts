/** Sends one request to a provider and reads its response. The only call of `fetch` in Purser. */
import { failureOfNetwork, failureOfStatus } from './failures.ts';
import { LlmError } from './llm.ts';
import type { Protocol } from './protocol.ts';
import { asObject, BodyTooLarge, parseObject, readBody } from './provider-body.ts';
import { readProviderError } from './provider-error.ts';
import type { ReportedUsage } from './usage/reported.ts';

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
}

const maxErrorBytes = 64 * 1024;

export async function send(request: SendRequest, signal: AbortSignal): Promise<Answer | Failure> {
  const timeout = AbortSignal.timeout(request.timeoutMs);
  try {
    const response = await fetch(request.url, {
      method: 'POST',
      headers: request.headers,
      body: request.body,
      // A redirect would be a second request under one hold, and could send the prompt to another host.
      redirect: 'manual',
      signal: AbortSignal.any([signal, timeout]),
    });
    const { status, headers } = response;
    if (response.ok) {
      return { text: await readBody(response, request.maxResponseBytes), status, headers };
    }
    const text = await readBody(response, maxErrorBytes).catch(() => '');
    return failedStatus(request, response, text);
  } catch (error) {
    return {
      error: failureOf(error, request, { aborted: signal.aborted, timedOut: timeout.aborted }),
    };
  }
}

function failedStatus(request: SendRequest, { status, headers }: Response, text: string): Failure {
  const { protocol, model } = request;
  const error = failureOfStatus(status, {
    host: new URL(request.url).host,
    protocol,
    model,
    // An error may name the model, which is in the request and not secret.
    providerError: readProviderError(text, request.body.replaceAll(model, ''), request.apiKey),
    retryAfter: headers.get('retry-after'),
  });
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

function failureOf(
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
        'worst case stays charged; raise LLM_TIMEOUT_SECONDS if this model needs longer',
      { class: 'retry', outcome: 'unknown', host },
    );
  }
  return failureOfNetwork(thrown, host, protocol);
}
