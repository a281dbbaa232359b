/**
 * One HTTP exchange with a provider under its own hold: reserve for the exact bytes, mark as sent, send, and end the
 * hold according to the response.
 */
import { formatUsd } from '../budget/money.ts';
import type { PinnedPrice } from '../budget/pinned-price.ts';
import { tokensOf } from '../budget/usage-classes.ts';
import type { TokenUsage } from '../budget/usage-classes.ts';
import { isStoreUnavailable } from '../db/store-errors.ts';
import { codeOf } from '../errors.ts';
import { abortedBeforeSending, keepUnknown, openHold, releaseHold, settleHold } from './holds.ts';
import type { Account, Hold } from './holds.ts';
import { LlmError } from './llm.ts';
import { hasManyValues, parseObject } from './provider-body.ts';
import { send } from './send.ts';
import type { Answer, Failure, SendRequest } from './send.ts';
import { tokenBound } from './token-bound.ts';
import { chargeOf } from './usage/charge.ts';
import type { ReportedUsage } from './usage/reported.ts';

export interface ExchangeRequest extends SendRequest {
  readonly price: PinnedPrice;
}

export interface Exchanged {
  readonly response: Response;
  readonly usage: TokenUsage;
  readonly costNanoUsd: bigint;
}

/** Throws `BudgetExceededError` before sending, or an `LlmError`; the hold has ended either way. */
export async function exchange(account: Account, request: ExchangeRequest): Promise<Exchanged> {
  if (account.signal.aborted) throw abortedBeforeSending(account.signal.reason);
  const { protocol, model, price, maxOutputTokens, timeoutMs } = request;
  const hold = await openHold(account, {
    provider: protocol.kind,
    model,
    price,
    inputTokens: tokenBound(request.body, request.url),
    maxOutputTokens,
    timeoutMs,
  });
  const response = await send(ownId(request, hold), account.signal);
  if ('error' in response) return endFailure(account, request, hold, response);
  return settleAnswer(account, request, hold, response);
}

/** With the reservation as the client's id of the request, where the protocol takes one. */
function ownId<R extends SendRequest>(request: R, { reservationId }: Hold): R {
  const { clientRequestIdHeader: name } = request.protocol;
  if (name === undefined) return request;
  const headers = new Headers(request.headers);
  headers.set(name, reservationId);
  return { ...request, headers };
}

async function endFailure(
  account: Account,
  request: ExchangeRequest,
  hold: Hold,
  { error, usage }: Failure,
): Promise<never> {
  if (usage !== undefined) await settleUsage(account, request, hold, usage);
  else if (error.details['outcome'] === 'released') await releaseHold(account, hold);
  else await keepUnknown(account, hold);
  throw error;
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
    const found =
      answer.text.trim() === '' ? 'an empty body' : 'a body without usage that can be read';
    throw new LlmError(
      'llm_bad_response',
      `${host} answered ${answer.status} with ${found}; the worst case stays charged; check that ` +
        `${protocol.baseUrlVariable} speaks ${protocol.name}`,
      { class: 'retry', outcome: 'unknown', host },
    );
  }
  const costNanoUsd = await settleUsage(account, request, hold, usage);
  // The SDK validates and describes every value, in the thread that renews the leases.
  if (hasManyValues(body)) {
    const { host } = new URL(request.url);
    throw new LlmError(
      'llm_bad_response',
      `${host} answered with an object of too many values; it was charged; check that ` +
        `${protocol.baseUrlVariable} speaks ${protocol.name}`,
      { class: 'retry', outcome: 'settled', host },
    );
  }
  const headers = { 'content-type': 'application/json' };
  const { status } = answer;
  const text = protocol.readableAnswer?.(answer.text) ?? answer.text;
  return {
    response: new Response(text, { status, headers }),
    usage: tokensOf(usage.counts),
    costNanoUsd,
  };
}

async function settleUsage(
  account: Account,
  { model, protocol, url }: ExchangeRequest,
  hold: Hold,
  usage: ReportedUsage,
): Promise<bigint> {
  const { price, holdNanoUsd } = hold;
  const charge = chargeOf({
    price,
    holdNanoUsd,
    model,
    provider: protocol.kind,
    baseUrl: url,
    usage,
  });
  try {
    await settleHold(account, hold, { charge, servedModel: usage.model, serviceTier: usage.tier });
  } catch (error) {
    if (isStoreUnavailable(error)) throw error;
    await keepUnknown(account, hold);
    throw new LlmError(
      'llm_charge_refused',
      `the charge of $${formatUsd(charge.costNanoUsd)} for a call of model ${model} cannot be recorded ` +
        `(${codeOf(error)}); the worst case stays charged; check the price of the model`,
      { class: 'fatal', outcome: 'unknown' },
      error,
    );
  }
  return charge.costNanoUsd;
}
