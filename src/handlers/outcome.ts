/**
 * How an attempt ends, as a value that a handler returns. Unexpected failures are thrown instead.
 */
import { PurserError } from '../errors.ts';

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

export const retry = (options: { reason: string; afterMs?: number }): Retry =>
  outcome({ kind: 'retry', reason: options.reason, afterMs: options.afterMs });

export const snooze = (options: { reason: string; afterMs: number }): Snooze =>
  outcome({ kind: 'snooze', reason: options.reason, afterMs: Math.max(0, options.afterMs) });

/**
 * Parks the job until the tenant's budget has `neededUsd` available, at the latest until `until` (default: the start
 * of the next UTC month, when budgets reset). Throws `invalid_outcome` if `neededUsd` is not an amount.
 */
export const park = (options: { reason: string; neededUsd: string; until?: Date }): Park => {
  if (!/^\d{1,9}(\.\d{1,9})?$/.test(options.neededUsd)) {
    throw new PurserError(
      'invalid_outcome',
      `park: neededUsd must be decimal dollars with at most 9 decimals, e.g. '0.25', not ${JSON.stringify(options.neededUsd)}`,
    );
  }
  return outcome({
    kind: 'park',
    reason: options.reason,
    neededUsd: options.neededUsd,
    until: options.until,
  });
};

export const cancel = (options: { reason: string }): Cancel =>
  outcome({ kind: 'cancel', reason: options.reason });

/** The outcome that a handler returned; any other value is the result of a completed job. */
export function toOutcome(returned: unknown): Outcome {
  const made =
    typeof returned === 'object' && returned !== null ? outcomes.get(returned) : undefined;
  return made ?? done(returned ?? null);
}
