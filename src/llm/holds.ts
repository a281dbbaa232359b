/**
 * The holds of one attempt's calls, the same for every provider: reserve, mark as sent, and end exactly once.
 * A hold whose end cannot be written is ended by expiry, never lost.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Charges } from '../budget/charges.ts';
import { formatUsd } from '../budget/money.ts';
import type { PinnedPrice } from '../budget/pinned-price.ts';
import { markUnknown, releaseReservation } from '../budget/settle.ts';
import type { StopWatch } from '../budget/stop-watch.ts';
import { isStoreUnavailable } from '../db/store-errors.ts';
import type { OpenKeys } from '../crypto/open-keyring.ts';
import type { Sql } from '../db/connect.ts';
import { codeOf, messageOf } from '../errors.ts';
import type { Logger } from '../log.ts';
import { throughBreakers } from './breaker/admit.ts';
import type { Forms, Passage } from './breaker/admit.ts';
import type { Breakers } from './breaker/breakers.ts';
import { rungOf } from './hold-request.ts';
import type { HoldRequest } from './hold-request.ts';
import { LlmError } from './llm.ts';
import type { Charge } from './usage/charge.ts';

/** The attempt that pays for a call. */
export interface Attempt {
  readonly tenantId: string;
  readonly jobId: string;
  readonly attempt: number;
  readonly token: string;
  /** Aborts when the attempt's deadline passes or it is taken away. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** When its deadline passes, by performance.now(); undefined where it has none. */
  readonly deadlineAtMs?: number | undefined;
  /** What its handler gives a call, where the call itself names no timeout. */
  readonly llmTimeoutMs?: number | undefined;
}

/** An attempt with what its holds need. */
export interface Account extends Attempt {
  /** The system's pool. */
  readonly sql: Sql;
  /** Of the same pool. */
  readonly charges: Charges;
  /** Called with the duration of each check and reserve. */
  readonly onBudgetCheck: (seconds: number) => void;
  /** Decrypts the tenants' own keys of providers. */
  readonly openKeys?: OpenKeys | undefined;
  /** Ends running calls that an operator stops. Default: they go on. */
  readonly stops?: StopWatch | undefined;
  /** Default: none is ever open. */
  readonly breakers?: Breakers | undefined;
  /** Called with each hold that was charged. */
  readonly onSettled?: (hold: Hold, chargedNanoUsd: bigint) => void;
}

export interface Hold {
  readonly reservationId: string;
  /** The requested one. */
  readonly model: string;
  readonly price: PinnedPrice;
  readonly holdNanoUsd: bigint;
  /** By performance.now(), and never later than in the table. */
  readonly expiresAtMs: number;
  /** To be told how the exchange ended, before its hold ends. */
  readonly pass?: Passage | undefined;
}

/** A hold whose request is not marked as sent yet. */
export interface Reserved extends Hold {
  /** Which of the forms fits. */
  readonly form: number;
  /** The cap that the request must have. */
  readonly maxOutputTokens: number;
}

/** Added to a call's own timeout: time to write the end of its hold, retries included, before it expires. */
export const graceMs = 60_000;
/** For an end without a bill: expiry ends the hold as well, on the side of charging it. */
const endRetriesMs = [200, 1000, 4000];
/** For a bill, which only this process knows: as long as the hold cannot have expired. */
const settleRetriesMs = [...endRetriesMs, 10_000, 20_000, 20_000];

/**
 * Reserves the worst case and marks the request as sent. When this throws, nothing may be sent and nothing is
 * held.
 */
export async function openHold(account: Account, request: HoldRequest): Promise<Hold> {
  return sendHold(account, await reserveHold(account, [request]));
}

/** Reserves the worst case of the first form of a request that no open circuit breaker keeps and that fits. */
export const reserveHold = (account: Account, forms: Forms): Promise<Reserved> =>
  throughBreakers(account, forms, (open) => reserveForms(account, open));

async function reserveForms(account: Account, forms: Forms): Promise<Reserved> {
  const [first, ...others] = forms;
  const { tenantId, jobId, token, attempt, deadlineAtMs = Infinity } = account;
  const request = rungOf(first);
  const startedAt = performance.now();
  const ttlMs = Math.min(first.timeoutMs, Math.max(0, deadlineAtMs - startedAt)) + graceMs;
  const reservation = await account.charges
    .reserve({
      tenantId,
      jobId,
      attempt,
      token,
      idempotencyKey: randomUUID(),
      ttlMs,
      endUser: first.endUser,
      providerKey: first.providerKey,
      ...request,
      fallbacks: others.map(rungOf),
    })
    .finally(() => account.onBudgetCheck((performance.now() - startedAt) / 1000));
  const { reservationId, holdNanoUsd, rung: form } = reservation;
  const chosen = forms[form] ?? first;
  if (reservation.overLimit) {
    account.log.warn({ tenantId, hold: formatUsd(holdNanoUsd) }, 'budget_soft_limit_passed');
  }
  return {
    reservationId,
    model: chosen.model,
    price: chosen.price,
    holdNanoUsd,
    expiresAtMs: startedAt + ttlMs,
    form,
    maxOutputTokens: reservation.maxOutputTokens ?? chosen.maxOutputTokens,
  };
}

/** Marks the request as sent. When this throws, nothing may be sent and nothing is held. */
export async function sendHold(account: Account, hold: Hold): Promise<Hold> {
  try {
    account.signal.throwIfAborted();
    if (await account.charges.markSent(account.tenantId, hold.reservationId)) return hold;
  } catch (error) {
    await releaseHold(account, hold);
    throw account.signal.aborted ? abortedBeforeSending(error) : error;
  }
  hold.pass?.abandon();
  throw new LlmError('llm_hold_lost', 'the hold ended before the request could be sent', {
    class: 'retry',
    outcome: 'released',
  });
}

export function abortedBeforeSending(cause: unknown): LlmError {
  return new LlmError(
    'llm_aborted',
    'the attempt ended before its request was sent; nothing was charged',
    { class: 'retry', outcome: 'released' },
    cause,
  );
}

export interface Settlement {
  readonly charge: Charge;
  readonly servedModel?: string | undefined;
  readonly serviceTier?: string | undefined;
  /** The provider's id of the request. */
  readonly requestId?: string | undefined;
}

/** What is known of a request whose cost is not. */
export interface UnknownEnd {
  /** The provider's id of the request. */
  readonly requestId?: string | undefined;
  /** A lower bound of the output tokens of a stream that broke. */
  readonly receivedOutputTokens?: number | undefined;
}

/** Charges a bill in place of the hold. */
export async function settleHold(
  account: Account,
  hold: Hold,
  { charge, servedModel, serviceTier, requestId }: Settlement,
): Promise<void> {
  hold.pass?.abandon();
  const { reservationId } = hold;
  const { items, uncovered } = charge;
  const { overageNanoUsd } = await retried(settleRetriesMs, () =>
    account.charges.settle(account.tenantId, {
      reservationId,
      items,
      uncovered,
      servedModel,
      serviceTier,
      requestId,
    }),
  );
  account.onSettled?.(hold, charge.costNanoUsd);
  const { tenantId, log } = account;
  if (uncovered.length > 0) {
    log.error({ tenantId, reservationId, uncovered }, 'budget_price_incomplete');
  }
  if (overageNanoUsd > 0n) {
    log.error({ tenantId, reservationId, overage: formatUsd(overageNanoUsd) }, 'budget_overage');
  }
}

/** Releases the hold. Where that fails, the hold expires as unknown and stays charged. */
export async function releaseHold(account: Account, hold: Hold): Promise<void> {
  await endHold(account, hold, () => releaseReservation(account.sql, hold));
}

/** Keeps the hold charged: the request was sent and its cost is unknown. */
export async function keepUnknown(
  account: Account,
  hold: Hold,
  { requestId, receivedOutputTokens }: UnknownEnd = {},
): Promise<void> {
  const { reservationId, holdNanoUsd } = hold;
  const known = { reservationId, hold: formatUsd(holdNanoUsd), requestId, receivedOutputTokens };
  account.log.warn(known, 'budget_outcome_unknown');
  await endHold(account, hold, () =>
    markUnknown(account.sql, { reservationId, requestId, receivedOutputTokens }),
  );
}

async function endHold(account: Account, hold: Hold, end: () => Promise<boolean>): Promise<void> {
  hold.pass?.abandon();
  try {
    await retried(endRetriesMs, end);
  } catch (error) {
    const { reservationId } = hold;
    account.log.error(
      { reservationId, code: codeOf(error), reason: messageOf(error) },
      'budget_hold_left_to_expiry',
    );
  }
}

async function retried<T>(delaysMs: readonly number[], run: () => Promise<T>): Promise<T> {
  for (const delayMs of delaysMs) {
    try {
      return await run();
    } catch (error) {
      if (!isStoreUnavailable(error)) throw error;
      await sleep(delayMs);
    }
  }
  return run();
}
