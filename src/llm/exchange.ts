/**
 * One HTTP exchange with a provider under its own hold: reserve for the exact bytes, mark as sent, send, and end the
 * hold according to the response.
 */
import { formatUsd } from '../budget/money.ts';
import type { PinnedPrice } from '../budget/pinned-price.ts';
import { tokensOf } from '../budget/usage-classes.ts';
import type { TokenUsage } from '../budget/usage-classes.ts';
import { stoppedRunning } from '../budget/refusals.ts';
import type { Watching } from '../budget/stop-watch.ts';
import { isStoreUnavailable } from '../db/store-errors.ts';
import { codeOf } from '../errors.ts';
import type { PurserError } from '../errors.ts';
import { abortedBeforeSending, keepUnknown, reserveHold, sendHold } from './holds.ts';
import { releaseHold, settleHold } from './holds.ts';
import type { HoldRequest } from './hold-request.ts';
import type { Account, Hold, Reserved } from './holds.ts';
import { nameOfOwnKey } from './keys/own-key.ts';
import { LlmError } from './llm.ts';
import { hasManyValues, parseObject } from './provider-body.ts';
import { send } from './send.ts';
import type { Answer, Failure, SendRequest } from './send.ts';
import { requestBound } from './tokens/request-bound.ts';
import { chargeOf } from './usage/charge.ts';
import type { ReportedUsage } from './usage/reported.ts';
import { requestIdOf } from './usage/request-id.ts';

export interface ExchangeRequest extends SendRequest {
  readonly price: PinnedPrice;
  readonly endUser?: string | undefined;
  /** A hold that was taken for this request before. Whoever takes it ends it. */
  readonly reserved?: TakenOnce | undefined;
}

/** A reserved hold, until an exchange takes it. */
export class TakenOnce {
  #hold: Reserved | undefined;

  constructor(hold: Reserved) {
    this.#hold = hold;
  }

  /** Undefined from the second time on. */
  take(): Reserved | undefined {
    const hold = this.#hold;
    this.#hold = undefined;
    return hold;
  }
}

export interface Exchanged {
  readonly response: Response;
  readonly usage: TokenUsage;
  readonly costNanoUsd: bigint;
}

/** Throws `BudgetExceededError` before sending, or an `LlmError`; the hold has ended either way. */
export async function exchange(account: Account, request: ExchangeRequest): Promise<Exchanged> {
  if (account.signal.aborted) throw abortedBeforeSending(account.signal.reason);
  const hold = await holdForRequest(account, request);
  const stop = watchStops(account, request);
  let response: Answer | Failure;
  try {
    response = await send(ownId(request, hold), AbortSignal.any([account.signal, stop.signal]));
  } finally {
    stop.end();
  }
  hold.pass?.end('error' in response ? response.error : undefined);
  if (!('error' in response)) return settleAnswer(account, request, hold, response);
  return endFailure(account, request, hold, response).catch((error: unknown) => {
    throw stop.signal.aborted ? stoppedError(request, hold) : error;
  });
}

/** The stop of a running call. */
export function watchStops(
  { tenantId, stops }: Account,
  { protocol, model }: Pick<ExchangeRequest, 'protocol' | 'model'>,
): Watching {
  return stops?.watch({ tenantId, provider: protocol.kind, model }) ?? notStopped;
}

const notStopped: Watching = { signal: new AbortController().signal, end: () => {} };

export const stoppedError = (
  { protocol, model }: Pick<ExchangeRequest, 'protocol' | 'model'>,
  { holdNanoUsd }: Hold,
): PurserError =>
  stoppedRunning({ provider: protocol.kind, model, neededUsd: formatUsd(holdNanoUsd) });

/** Marks the request as sent, under a hold of its own unless it has one. */
export async function holdForRequest(account: Account, request: ExchangeRequest): Promise<Hold> {
  const reserved = request.reserved?.take();
  return sendHold(
    account,
    reserved ?? (await reserveHold(account, [await holdRequestOf(request)])),
  );
}

/** The worst case of a request. */
export async function holdRequestOf(request: ExchangeRequest): Promise<HoldRequest> {
  const { protocol, model, price, timeoutMs, endUser, ownKey } = request;
  const { kind } = protocol;
  const bound = await requestBound({ ...request, kind });
  const providerKey = ownKey && nameOfOwnKey(ownKey);
  return { ...bound, provider: kind, model, price, timeoutMs, endUser, providerKey };
}

/** With the reservation as the client's id of the request, where the protocol takes one. */
export function ownId<R extends SendRequest>(request: R, { reservationId }: Hold): R {
  const { clientRequestIdHeader: name } = request.protocol;
  if (name === undefined) return request;
  const headers = new Headers(request.headers);
  headers.set(name, reservationId);
  return { ...request, headers };
}

/** Ends the hold of a request that failed, and throws its error. */
export async function endFailure(
  account: Account,
  request: ExchangeRequest,
  hold: Hold,
  { error, usage, requestId }: Failure,
): Promise<never> {
  if (usage !== undefined) await settleUsage(account, request, hold, { usage, requestId });
  else if (error.details['outcome'] === 'released') await releaseHold(account, hold);
  else await keepUnknown(account, hold, { requestId });
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
  const requestId = requestIdOf(protocol, answer.headers, body);
  if (usage === undefined) {
    await keepUnknown(account, hold, { requestId });
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
  const costNanoUsd = await settleUsage(account, request, hold, { usage, requestId });
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

/** Charges what the provider reports in place of the hold. Throws `llm_charge_refused`, or `store_unavailable`. */
export async function settleUsage(
  account: Account,
  { model, protocol, url }: Pick<ExchangeRequest, 'model' | 'protocol' | 'url'>,
  hold: Hold,
  { usage, requestId }: { usage: ReportedUsage; requestId: string | undefined },
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
    const { model: servedModel, tier: serviceTier } = usage;
    await settleHold(account, hold, { charge, servedModel, serviceTier, requestId });
  } catch (error) {
    if (isStoreUnavailable(error)) throw error;
    await keepUnknown(account, hold, { requestId });
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
