/**
 * How an attempt ends, as a value that a handler returns. Unexpected failures are thrown instead.
 */
import { readableText } from '../bounded-text.ts';
import { PurserError } from '../errors.ts';
import { isRunTime } from '../jobs/request.ts';
import { optionFault } from '../names.ts';

export interface Done {
  readonly kind: 'done';
  readonly result: unknown;
}
/** Counts as a failed attempt; the next one starts after `afterMs`, or after the handler's backoff. */
export interface Retry {
  readonly kind: 'retry';
  readonly reason: string;
  readonly afterMs: number | undefined;
}
/** Not a failure: the job runs again after `afterMs`, and the attempt is not counted. */
export interface Snooze {
  readonly kind: 'snooze';
  readonly reason: string;
  readonly afterMs: number;
}
/** The job waits for budget, at the latest until `until`; the attempt is not counted. */
export interface Park {
  readonly kind: 'park';
  readonly reason: string;
  /** Decimal USD: the job resumes when the tenant's budget has this much available. */
  readonly neededUsd: string;
  readonly until: Date | undefined;
}
/** Ends the job as cancelled. */
export interface Cancel {
  readonly kind: 'cancel';
  readonly reason: string;
}

export type Outcome = Done | Retry | Snooze | Park | Cancel;

const outcomes = new WeakMap<object, Outcome>();

function outcome<T extends Outcome>(value: T): T {
  outcomes.set(value, value);
  return Object.freeze(value);
}

/** Completes the job; `result` must be JSON. Returning a plain value does the same. */
export const done = (result: unknown = null): Done => outcome({ kind: 'done', result });

/** Callers in plain JavaScript have no type check. Throws `invalid_outcome`. */
function checkedReason(
  kind: string,
  options: { readonly reason: string },
  others: readonly string[],
): string {
  const given: unknown = options;
  const reason: unknown =
    given !== null && typeof given === 'object' && 'reason' in given ? given.reason : undefined;
  const fault = optionFault(kind, Object(given), ['reason', ...others]);
  if (typeof reason === 'string' && fault !== undefined) {
    throw new PurserError('invalid_outcome', fault);
  }
  if (typeof reason === 'string') return readableText(reason);
  throw new PurserError(
    'invalid_outcome',
    `${kind}: reason must be a string, e.g. ${kind}({ reason: 'why' }), not ${typeof reason}`,
  );
}

function checkedMs(kind: string, afterMs: unknown): void {
  if (typeof afterMs === 'number' && afterMs >= 0) return;
  const given = typeof afterMs === 'number' ? String(afterMs) : typeof afterMs;
  throw new PurserError(
    'invalid_outcome',
    `${kind}: afterMs must be a number of milliseconds, 0 or more, not ${given}`,
  );
}

function checkedDate(kind: string, until: unknown): void {
  if (until === undefined) return;
  // A date that is over would wake the job at once, and again after each attempt, none of which counts.
  if (isRunTime(until) && until.getTime() > Date.now()) return;
  throw new PurserError(
    'invalid_outcome',
    `${kind}: until must be a Date in the future and before the year 9999; without it the job waits until the next ` +
      'month, when budgets reset',
  );
}

export const retry = (options: { reason: string; afterMs?: number }): Retry => {
  const reason = checkedReason('retry', options, ['afterMs']);
  if (options.afterMs !== undefined) checkedMs('retry', options.afterMs);
  return outcome({ kind: 'retry', reason, afterMs: options.afterMs });
};

export const snooze = (options: { reason: string; afterMs: number }): Snooze => {
  const reason = checkedReason('snooze', options, ['afterMs']);
  checkedMs('snooze', options.afterMs);
  return outcome({ kind: 'snooze', reason, afterMs: options.afterMs });
};

const maxAmountLength = 20;

/**
 * Parks the job until the tenant's budget has `neededUsd` available, at the latest until `until` (default: the start
 * of the next UTC month, when budgets reset). Throws `invalid_outcome` if `neededUsd` is not an amount, or `until` is
 * not in the future and before the year 9999.
 */
export const park = (options: { reason: string; neededUsd: string; until?: Date }): Park => {
  const reason = checkedReason('park', options, ['neededUsd', 'until']);
  checkedDate('park', options.until);
  const needed: unknown = options.neededUsd;
  const isShort = typeof needed === 'string' && needed.length <= maxAmountLength;
  if (!isShort || !/^\d{1,9}(\.\d{1,9})?$/.test(needed)) {
    throw new PurserError(
      'invalid_outcome',
      'park: neededUsd must be decimal dollars with at most 9 decimals as a string, e.g. ' +
        `'0.25', not ${isShort ? JSON.stringify(needed) : typeof needed}`,
    );
  }
  return outcome({
    kind: 'park',
    reason,
    neededUsd: needed,
    until: options.until,
  });
};

export const cancel = (options: { reason: string }): Cancel =>
  outcome({ kind: 'cancel', reason: checkedReason('cancel', options, []) });

/**
 * What a transaction that completes its job returned, as the job's result. Throws `invalid_outcome` for another end: the
 * transaction has no other.
 */
export function toResult(returned: unknown): unknown {
  const made = toOutcome(returned);
  if (made.kind === 'done') return made.result;
  throw new PurserError(
    'invalid_outcome',
    `the function of ctx.sql.begin(fn, { complete: true }) returned ${made.kind}(), but its transaction completes the ` +
      `job; return ${made.kind}() from the handler, without complete: true`,
  );
}

/** The outcome that a handler returned; any other value is the result of a completed job. */
export function toOutcome(returned: unknown): Outcome {
  const made =
    typeof returned === 'object' && returned !== null ? outcomes.get(returned) : undefined;
  return made ?? { kind: 'done', result: returned ?? null };
}
