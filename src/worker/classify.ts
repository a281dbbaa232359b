/**
 * From what an attempt returned or threw to what happens to its job. Pure: all facts come in, one decision
 * goes out.
 */
import { BudgetExceededError } from '../budget/budget-exceeded.ts';
import { formatUsd } from '../budget/money.ts';
import { JobTimeoutError, PurserError } from '../errors.ts';
import type { AttemptEnd, BegunAttempt } from '../jobs/attempts.ts';
import type { Handler } from '../handlers/define.ts';
import { toOutcome } from '../handlers/outcome.ts';
import { backoffMs } from './backoff.ts';
import { readableThrown, storableFault, storableResult, storableText } from './store-value.ts';

export interface AttemptFacts {
  readonly attempt: BegunAttempt;
  readonly handler: Pick<Handler, 'onBudget' | 'backoff'>;
  readonly now: Date;
}

const maxSnoozeMs = 3_600_000;
/** Longer than any patience: such a job ends as expired. */
const maxRetryMs = 365 * 86_400_000;
const maxReasonLength = 1_000;
const retryableStatus = new Set([402, 408, 409, 425, 429]);

const after = (facts: AttemptFacts, ms: number): Date => new Date(facts.now.getTime() + ms);

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
      return snoozed(outcome.afterMs, outcome.reason, facts);
    case 'cancel':
      return {
        toState: 'cancelled',
        countsAttempt: true,
        detail: { reason: storableText(outcome.reason, maxReasonLength), by: 'handler' },
      };
    default:
      return failed(
        new PurserError('retry_requested', outcome.reason),
        facts,
        retryAt(outcome.afterMs, facts),
      );
  }
}

/** The end of an attempt whose handler threw, or whose deadline passed. */
export function endOfThrow(anything: unknown, facts: AttemptFacts): AttemptEnd {
  const thrown = readableThrown(anything);
  if (thrown instanceof BudgetExceededError) return refused(thrown, facts);
  const hint = classOf(thrown);
  if (hint.kind === 'fatal') return deadLetter(thrown, 'fatal');
  if (hint.kind === 'snooze') return snoozed(hint.afterMs, storableFault(thrown).message, facts);
  return failed(thrown, facts, undefined);
}

function refused(error: BudgetExceededError, facts: AttemptFacts): AttemptEnd {
  if (error.fatal || facts.handler.onBudget === 'fail') return deadLetter(error, 'budget');
  return {
    toState: 'parked',
    scheduledFor: error.resetsAt,
    neededUsd: formatUsd(error.neededNanoUsd),
    error: storableFault(error, error.details),
    countsAttempt: false,
    detail: { reason: 'budget_exceeded', resetsAt: error.resetsAt.toISOString() },
  };
}

type FailureClass =
  | { kind: 'fatal' }
  | { kind: 'retry' }
  | { kind: 'snooze'; readonly afterMs: number };

/** Errors of ours say their class; others are judged by an HTTP status where they carry one. */
function classOf(thrown: unknown): FailureClass {
  if (thrown instanceof JobTimeoutError) return { kind: 'retry' };
  if (thrown instanceof PurserError) {
    const { class: named, retryAfterMs } = thrown.details;
    if (named === 'fatal') return { kind: 'fatal' };
    if (named === 'snooze') {
      return { kind: 'snooze', afterMs: typeof retryAfterMs === 'number' ? retryAfterMs : 10_000 };
    }
    if (named === 'retry') return { kind: 'retry' };
  }
  const status = statusOf(thrown);
  const fatal =
    status !== undefined && status >= 400 && status < 500 && !retryableStatus.has(status);
  return { kind: fatal ? 'fatal' : 'retry' };
}

function statusOf(thrown: unknown): number | undefined {
  if (thrown === null || typeof thrown !== 'object') return undefined;
  for (const key of ['status', 'statusCode']) {
    const value: unknown = Reflect.get(thrown, key);
    if (typeof value === 'number') return value;
  }
  return undefined;
}

/** What is no number of milliseconds asks for nothing: undefined leaves it to the backoff. */
function retryAt(afterMs: number | undefined, facts: AttemptFacts): Date | undefined {
  if (afterMs === undefined || Number.isNaN(afterMs)) return undefined;
  return after(facts, Math.min(maxRetryMs, Math.max(0, afterMs)));
}

function snoozed(afterMs: number, reason: string, facts: AttemptFacts): AttemptEnd {
  const boundedMs = Number.isNaN(afterMs) ? 0 : Math.min(maxSnoozeMs, Math.max(0, afterMs));
  return {
    toState: 'pending',
    scheduledFor: after(facts, boundedMs),
    countsAttempt: false,
    detail: { reason: `snoozed: ${storableText(reason, maxReasonLength)}`, afterMs: boundedMs },
  };
}

function failed(thrown: unknown, facts: AttemptFacts, at: Date | undefined): AttemptEnd {
  const { attempt, maxAttempts } = facts.attempt;
  if (attempt >= maxAttempts) return deadLetter(thrown, 'attempts exhausted');
  const error = faultOf(thrown);
  return {
    toState: 'failed',
    scheduledFor: at ?? after(facts, backoffMs(attempt, facts.handler.backoff)),
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
