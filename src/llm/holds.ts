/**
 * The money side of one attempt's calls, the same for every provider: hold, send, and end the hold
 * exactly once. What cannot be written when it ends is settled by expiry, never lost.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatUsd } from '../budget/money.ts';
import { estimateCost } from '../budget/prices.ts';
import type { PinnedPrice } from '../budget/prices.ts';
import { checkAndReserve, markSent } from '../budget/reserve.ts';
import { markUnknown, recordUsage, releaseReservation } from '../budget/settle.ts';
import { isStoreDown } from '../budget/store.ts';
import type { Sql } from '../db/connect.ts';
import { codeOf, messageOf } from '../errors.ts';
import type { Logger } from '../log.ts';
import { LlmError } from './llm.ts';
import { costOfBilled } from './usage.ts';
import type { BilledUsage } from './usage.ts';

/** The attempt on whose account a call is made. */
export interface Attempt {
  readonly tenantId: string;
  readonly jobId: string;
  readonly attempt: number;
  readonly token: string;
  /** Aborts when the attempt's deadline passes or it is taken away. */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** An attempt with what its calls need to move money. */
export interface Account extends Attempt {
  /** The system's pool. */
  readonly sql: Sql;
  /** Told how long each check and reserve took. */
  readonly onBudgetCheck: (seconds: number) => void;
}

export interface HoldRequest {
  readonly provider: string;
  readonly model: string;
  readonly price: PinnedPrice;
  /** A bound, not an estimate. */
  readonly inputTokens: number;
  readonly maxOutputTokens: number;
  /** How long the call may take at most. */
  readonly timeoutMs: number;
}

export interface Hold {
  readonly reservationId: string;
  readonly price: PinnedPrice;
  readonly holdNanoUsd: bigint;
}

/** Added to a call's own timeout: time to write its end, retries included, before a sweep does. */
const graceMs = 60_000;
const endRetriesMs = [200, 1000, 4000];

/**
 * Reserves the worst case and says that the request leaves now. When this throws, nothing may be sent
 * and nothing is held.
 */
export async function openHold(account: Account, request: HoldRequest): Promise<Hold> {
  const { provider, model, price, timeoutMs } = request;
  const holdNanoUsd = estimateCost(price, request);
  const { tenantId, jobId, token } = account;
  const startedAt = performance.now();
  const reservation = await checkAndReserve(account.sql, {
    tenantId,
    jobId,
    attempt: account.attempt,
    token,
    idempotencyKey: randomUUID(),
    holdNanoUsd,
    ttlMs: timeoutMs + graceMs,
    provider,
    model,
    price,
  }).finally(() => account.onBudgetCheck((performance.now() - startedAt) / 1000));
  const hold = { reservationId: reservation.reservationId, price, holdNanoUsd };
  if (reservation.overLimit) {
    account.log.warn({ tenantId, hold: formatUsd(holdNanoUsd) }, 'budget_soft_limit_passed');
  }
  try {
    account.signal.throwIfAborted();
    if (await markSent(account.sql, hold)) return hold;
  } catch (error) {
    await releaseHold(account, hold);
    throw account.signal.aborted ? abortedBeforeSending(error) : error;
  }
  throw new LlmError(
    'llm_hold_lost',
    'the hold ended before the request could leave; nothing was sent',
    { class: 'retry', outcome: 'released' },
  );
}

export function abortedBeforeSending(cause: unknown): LlmError {
  return new LlmError(
    'llm_aborted',
    'the attempt ended before its request left; nothing was sent or charged',
    { class: 'retry', outcome: 'released' },
    cause,
  );
}

/** Charges what was billed, at the pinned price. Returns the cost in nano-USD. */
export async function settleHold(
  account: Account,
  hold: Hold,
  usage: BilledUsage,
): Promise<bigint> {
  const costNanoUsd = costOfBilled(hold.price, usage);
  const { reservationId } = hold;
  const { overageNanoUsd } = await retried(() =>
    recordUsage(account.sql, { reservationId, usage, costNanoUsd }),
  );
  if (overageNanoUsd > 0n) {
    const { tenantId } = account;
    account.log.error(
      { tenantId, reservationId, overage: formatUsd(overageNanoUsd) },
      'budget_overage',
    );
  }
  return costNanoUsd;
}

/** Gives the hold back. Where even that fails, expiry ends the hold, on the side of charging it. */
export async function releaseHold(account: Account, hold: Hold): Promise<void> {
  await endQuietly(account, hold, () => releaseReservation(account.sql, hold));
}

/** Keeps the hold charged: the request left and nobody knows what it cost. */
export async function keepUnknown(account: Account, hold: Hold): Promise<void> {
  const { reservationId } = hold;
  account.log.warn({ reservationId, hold: formatUsd(hold.holdNanoUsd) }, 'budget_outcome_unknown');
  await endQuietly(account, hold, () => markUnknown(account.sql, hold));
}

async function endQuietly(
  account: Account,
  hold: Hold,
  end: () => Promise<boolean>,
): Promise<void> {
  try {
    await retried(end);
  } catch (error) {
    const { reservationId } = hold;
    account.log.error(
      { reservationId, code: codeOf(error), reason: messageOf(error) },
      'budget_hold_left_to_expiry',
    );
  }
}

async function retried<T>(run: () => Promise<T>): Promise<T> {
  for (const delayMs of endRetriesMs) {
    try {
      return await run();
    } catch (error) {
      if (!isStoreDown(error)) throw error;
      await sleep(delayMs);
    }
  }
  return run();
}
