/**
 * One HTTP exchange with a provider under its own hold: reserve for the exact bytes, mark as sent, send, and
 * end the hold according to the response. The only call of `fetch` in Purser.
 */
import type { PinnedPrice } from '../budget/prices.ts';
import { failureOfNetwork, failureOfStatus } from './failures.ts';
import { abortedBeforeSending, keepUnknown, openHold, releaseHold, settleHold } from './holds.ts';
import type { Account, Hold } from './holds.ts';
import { LlmError } from './llm.ts';
import type { Protocol } from './protocol.ts';
import { BodyTooLarge, parseObject, readBody } from './provider-body.ts';
import { readProviderError } from './provider-error.ts';
import type { BilledUsage } from './usage.ts';

export interface ExchangeRequest {
  readonly url: string;
  readonly headers: Headers;
  /** The serialised JSON, as it will be sent. */
  readonly body: string;
  /** The cap that the body contains. */
  readonly maxOutputTokens: number;
  readonly protocol: Protocol;
  readonly model: string;
  readonly price: PinnedPrice;
  readonly timeoutMs: number;
  readonly maxResponseBytes: number;
  readonly apiKey: string | undefined;
}

export interface Exchanged {
  readonly response: Response;
  readonly usage: BilledUsage;
  readonly costNanoUsd: bigint;
}

/**
 * A token covers at least one byte, so the body's UTF-8 bytes bound its tokens; this many more cover
 * the templates that a server puts around messages.
 */
const templateTokens = 256;
const maxErrorBytes = 64 * 1024;

/** Throws `BudgetExceededError` before sending, or an `LlmError`; the hold has ended either way. */
export async function exchange(account: Account, request: ExchangeRequest): Promise<Exchanged> {
  if (account.signal.aborted) throw abortedBeforeSending(account.signal.reason);
  const { protocol, model, price, maxOutputTokens, timeoutMs } = request;
  const hold = await openHold(account, {
    provider: protocol.kind,
    model,
    price,
    inputTokens: Buffer.byteLength(request.body) + templateTokens,
    maxOutputTokens,
    timeoutMs,
  });
  const answer = await send(account, request);
  if (answer instanceof LlmError) {
    const released = answer.details['outcome'] === 'released';
    await (released ? releaseHold : keepUnknown)(account, hold);
    throw answer;
  }
  return settleAnswer(account, request, hold, answer);
}

interface Answer {
  readonly text: string;
  readonly status: number;
  readonly headers: Headers;
}

async function send(account: Account, request: ExchangeRequest): Promise<Answer | LlmError> {
  const { host } = new URL(request.url);
  const { protocol } = request;
  const timeout = AbortSignal.timeout(request.timeoutMs);
  try {
    const response = await fetch(request.url, {
      method: 'POST',
      headers: request.headers,
      body: request.body,
      // A redirect would be a second request under one hold, and could send the prompt to another host.
      redirect: 'manual',
      signal: AbortSignal.any([account.signal, timeout]),
    });
    const { status, headers } = response;
    if (response.ok) {
      return { text: await readBody(response, request.maxResponseBytes), status, headers };
    }
    const text = await readBody(response, maxErrorBytes).catch(() => '');
    return failureOfStatus(status, {
      host,
      protocol,
      model: request.model,
      // An error may name the model, which is in the request and not secret.
      providerError: readProviderError(
        text,
        request.body.replaceAll(request.model, ''),
        request.apiKey,
      ),
      retryAfter: headers.get('retry-after'),
    });
  } catch (error) {
    if (error instanceof BodyTooLarge) {
      return new LlmError(
        'llm_response_too_large',
        `${host} sent more than ${request.maxResponseBytes} bytes for an answer of at most ` +
          `${request.maxOutputTokens} tokens; check ${protocol.baseUrlVariable}; the worst case stays charged`,
        { class: 'fatal', outcome: 'unknown', host },
      );
    }
    if (account.signal.aborted) {
      return new LlmError(
        'llm_aborted',
        `the attempt ended while ${host} was working; the request may have been billed, so its worst case stays charged`,
        { class: 'retry', outcome: 'unknown', host },
      );
    }
    if (timeout.aborted) {
      return new LlmError(
        'llm_timeout',
        `${host} did not finish its answer within ${request.timeoutMs} ms; it may have been billed, so its ` +
          'worst case stays charged; raise LLM_TIMEOUT_SECONDS if this model needs longer',
        { class: 'retry', outcome: 'unknown', host },
      );
    }
    return failureOfNetwork(error, host, protocol);
  }
}

async function settleAnswer(
  account: Account,
  request: ExchangeRequest,
  hold: Hold,
  answer: Answer,
): Promise<Exchanged> {
  const { protocol } = request;
  const body = parseObject(answer.text);
  const usage = body === undefined ? undefined : protocol.usageOf(body);
  if (usage === undefined) {
    await keepUnknown(account, hold);
    const { host } = new URL(request.url);
    const found = answer.text.trim() === '' ? 'an empty body' : 'a body without usage';
    throw new LlmError(
      'llm_bad_response',
      `${host} answered ${answer.status} with ${found}; the worst case stays charged; check that ` +
        `${protocol.baseUrlVariable} speaks ${protocol.name}`,
      { class: 'retry', outcome: 'unknown', host },
    );
  }
  const costNanoUsd = await settleHold(account, hold, usage);
  const headers = { 'content-type': 'application/json' };
  const { status } = answer;
  const text = protocol.readableAnswer?.(answer.text) ?? answer.text;
  return { response: new Response(text, { status, headers }), usage, costNanoUsd };
}
