/** Decides how an attempt ends from what its handler returned or threw. Pure. */
import { BudgetExceededError } from '../budget/budget-exceeded.ts';
import { formatUsd } from '../budget/money.ts';
import { JobTimeoutError, PurserError, UsageError } from '../errors.ts';
import type { AttemptEnd, BegunAttempt } from '../jobs/attempts.ts';
import { isRunTime } from '../jobs/request.ts';
import type { Handler } from '../handlers/define.ts';
import { toOutcome } from '../handlers/outcome.ts';
import { parseRetryAfter } from '../retry-after.ts';
import { backoffMs } from './backoff.ts';
import { read } from '../bounded-json.ts';
import { readableThrown, storableFault, storableResult, storableText } from './store-value.ts';

export interface AttemptFacts {
  readonly attempt: BegunAttempt;
  readonly handler: Pick<Handler, 'onBudget' | 'backoff'>;
  /** For a Retry-After that is a date. */
  readonly now: Date;
}

const maxSnoozeMs = 3_600_000;
/** Longer than any giveUpAfter: such a job ends as expired. */
const maxRetryMs = 365 * 86_400_000;
const maxReasonLength = 1_000;
const maxHeaderLength = 100;
const retryableStatus = new Set([402, 408, 409, 425, 429]);

/** The end of an attempt whose handler returned. */
export function endOfReturn(returned: unknown, facts: AttemptFacts): AttemptEnd {
  const outcome = toOutcome(returned);
  switch (outcome.kind) {
    case 'done':
      return {
        toState: 'completed',
        result: storableResult(outcome.result),
        countsAttempt: true,
        detail: {},
      };
    case 'snooze':
      return snoozed(outcome.afterMs, outcome.reason);
    case 'park':
      return {
        toState: 'parked',
        ...untilOf(outcome.until),
        neededUsd: outcome.neededUsd,
        countsAttempt: false,
        detail: { reason: storableText(outcome.reason, maxReasonLength), by: 'handler' },
      };
    case 'cancel':
      return cancelled(outcome.reason, 'handler');
    default:
      return failed(
        new PurserError('retry_requested', outcome.reason),
        facts,
        retryMs(outcome.afterMs),
      );
  }
}

/** The end of an attempt whose handler threw, or whose deadline passed. */
export function endOfThrow(anything: unknown, facts: AttemptFacts): AttemptEnd {
  const thrown = readableThrown(anything);
  if (thrown instanceof BudgetExceededError) return refused(thrown, facts);
  const hint = classOf(thrown, facts.now);
  if (hint.kind === 'fatal') return deadLetter(thrown, 'fatal');
  if (hint.kind === 'park') return stopped(thrown, hint.neededUsd);
  if (hint.kind === 'snooze') {
    const { code, message } = storableFault(thrown);
    return snoozed(hint.afterMs, message, code);
  }
  if (hint.kind === 'cancel') return cancelled(hint.reason, hint.by);
  if (hint.kind === 'hand_back') return handedBack(storableFault(thrown).message, 0);
  return failed(thrown, facts, undefined);
}

function cancelled(reason: string, by: string): AttemptEnd {
  return {
    toState: 'cancelled',
    countsAttempt: true,
    detail: { reason: storableText(reason, maxReasonLength), by: storableText(by, 200) },
  };
}

/** The attempt did not start, or ended for a reason outside the handler: it is not counted, and the job runs again. */
export function handedBack(reason: string, afterMs: number): AttemptEnd {
  return {
    toState: 'pending',
    countsAttempt: false,
    afterMs,
    detail: { reason: `handed back: ${reason}` },
  };
}

/** A handler can change a Date after it was checked. */
const untilOf = (date: Date | null | undefined): Pick<AttemptEnd, 'until'> =>
  isRunTime(date) ? { until: date } : {};

function refused(error: BudgetExceededError, facts: AttemptFacts): AttemptEnd {
  if (error.fatal || facts.handler.onBudget === 'fail') return deadLetter(error, 'budget');
  return {
    toState: 'parked',
    ...untilOf(error.resetsAt),
    neededUsd: formatUsd(error.neededNanoUsd),
    error: storableFault(error, error.details),
    countsAttempt: false,
    detail: { reason: 'budget_exceeded', resetsAt: error.resetsAt?.toISOString() ?? null },
  };
}

/** Until the stop is lifted, or the circuit breaker closed; at the latest until `giveUpAfter` of a parked job ends it. */
function stopped(thrown: unknown, neededUsd: string): AttemptEnd {
  const error = storableFault(thrown);
  return {
    toState: 'parked',
    neededUsd,
    error,
    countsAttempt: false,
    detail: { reason: error.code },
  };
}

type FailureClass =
  | { kind: 'fatal' }
  | { kind: 'retry' }
  | { kind: 'hand_back' }
  | { kind: 'park'; readonly neededUsd: string }
  | { kind: 'cancel'; readonly reason: string; readonly by: string }
  | { kind: 'snooze'; readonly afterMs: number };

/** Errors of Purser carry their class; others are classified by their HTTP status, if they have one. */
function classOf(thrown: unknown, now: Date): FailureClass {
  if (thrown instanceof JobTimeoutError) return { kind: 'retry' };
  // A wrong call fails again on every attempt.
  if (thrown instanceof UsageError) return { kind: 'fatal' };
  if (thrown instanceof PurserError) {
    const { class: named, retryAfterMs, by, reason, neededUsd } = thrown.details;
    if (named === 'fatal' || named === 'hand_back') return { kind: named };
    if (named === 'park' && typeof neededUsd === 'string') return { kind: 'park', neededUsd };
    if (named === 'cancel') return { kind: 'cancel', reason: String(reason), by: String(by) };
    if (named === 'snooze') {
      return { kind: 'snooze', afterMs: typeof retryAfterMs === 'number' ? retryAfterMs : 10_000 };
    }
    if (named === 'retry') return { kind: 'retry' };
  }
  const outage = outageIn(thrown);
  if (outage !== undefined) return classOf(outage, now);
  const status = statusOf(thrown);
  const waitMs = status === 429 ? retryAfterOf(thrown, now) : undefined;
  if (waitMs !== undefined) return { kind: 'snooze', afterMs: waitMs };
  const fatal =
    status !== undefined && status >= 400 && status < 500 && !retryableStatus.has(status);
  return { kind: fatal ? 'fatal' : 'retry' };
}

const maxCauses = 5;

/** The outage of a store of ours that a handler's own error wraps: it costs no attempt, whatever it is wrapped in. */
function outageIn(thrown: unknown): PurserError | undefined {
  let cause = fieldOf(thrown, 'cause');
  for (let depth = 0; depth < maxCauses && cause !== undefined; depth += 1) {
    if (cause instanceof PurserError && outageCodes.has(cause.code)) return cause;
    cause = fieldOf(cause, 'cause');
  }
  return undefined;
}

/** Of ctx.sql; and of a call of the LLM, which needs the budget. */
const outageCodes: ReadonlySet<string> = new Set(['database_unavailable', 'store_unavailable']);

function statusOf(thrown: unknown): number | undefined {
  if (thrown === null || typeof thrown !== 'object') return undefined;
  for (const key of ['status', 'statusCode']) {
    const value = read(thrown, key);
    if (typeof value === 'number') return value;
  }
  return undefined;
}

/** The Retry-After header, where HTTP clients put it in their errors. */
function retryAfterOf(thrown: unknown, now: Date): number | undefined {
  const headers = fieldOf(thrown, 'headers') ?? fieldOf(fieldOf(thrown, 'response'), 'headers');
  const header: unknown =
    headers instanceof Headers ? headers.get('retry-after') : fieldOf(headers, 'retry-after');
  const value = header ?? fieldOf(thrown, 'retryAfter');
  const isShort = typeof value === 'string' && value.length <= maxHeaderLength;
  return isShort || typeof value === 'number' ? parseRetryAfter(String(value), now) : undefined;
}

function fieldOf(value: unknown, name: string): unknown {
  return value !== null && typeof value === 'object' ? read(value, name) : undefined;
}

/** undefined when it is not a number: the backoff decides. */
function retryMs(afterMs: number | undefined): number | undefined {
  if (afterMs === undefined || Number.isNaN(afterMs)) return undefined;
  return Math.min(maxRetryMs, Math.max(0, afterMs));
}

/** `code`: of the error that asked for it. */
function snoozed(afterMs: number, reason: string, code?: string): AttemptEnd {
  const boundedMs = Number.isNaN(afterMs) ? 0 : Math.min(maxSnoozeMs, Math.max(0, afterMs));
  return {
    toState: 'pending',
    suspect: false,
    afterMs: boundedMs,
    countsAttempt: false,
    detail: {
      reason: `snoozed: ${storableText(reason, maxReasonLength)}`,
      afterMs: boundedMs,
      ...(code === undefined ? {} : { code }),
    },
  };
}

function failed(thrown: unknown, facts: AttemptFacts, afterMs: number | undefined): AttemptEnd {
  const { attempt, maxAttempts } = facts.attempt;
  if (attempt >= maxAttempts) return deadLetter(thrown, 'attempts exhausted');
  const error = faultOf(thrown);
  return {
    toState: 'failed',
    suspect: false,
    afterMs: afterMs ?? backoffMs(attempt, facts.handler.backoff),
    error,
    countsAttempt: true,
    detail: { reason: error.code },
  };
}

function deadLetter(thrown: unknown, reason: string): AttemptEnd {
  const error = faultOf(thrown);
  return {
    toState: 'dead_letter',
    error,
    countsAttempt: true,
    detail: { reason, code: error.code },
  };
}

function faultOf(thrown: unknown) {
  return storableFault(thrown, thrown instanceof PurserError ? thrown.details : undefined);
}
