/**
 * How an attempt ends, as a value. Throwing is for the unexpected; these are for what a handler decides.
 */
import { PurserError } from '../errors.ts';

export interface Done {
  readonly kind: 'done';
  readonly result: unknown;
}
/** Counts as a failed attempt; the next one comes after `afterMs`, or after the usual backoff. */
export interface Retry {
  readonly kind: 'retry';
  readonly reason: string;
  readonly afterMs: number | undefined;
}
/** Not a failure: the job comes back after `afterMs` and the attempt is not counted. */
export interface Snooze {
  readonly kind: 'snooze';
  readonly reason: string;
  readonly afterMs: number;
}
/** Waits for money, or for the time: the attempt is not counted. */
export interface Park {
  readonly kind: 'park';
  readonly reason: string;
  /** Decimal USD: the job wakes when the tenant's budget has so much to spare. */
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

/** The job is completed; `result` must be JSON. A plain return value means the same. */
export const done = (result: unknown = null): Done => outcome({ kind: 'done', result });

export const retry = (options: { reason: string; afterMs?: number }): Retry =>
  outcome({ kind: 'retry', reason: options.reason, afterMs: options.afterMs });

export const snooze = (options: { reason: string; afterMs: number }): Snooze =>
  outcome({ kind: 'snooze', reason: options.reason, afterMs: Math.max(0, options.afterMs) });

/**
 * Parks the job until the tenant's budget has `neededUsd` to spare, at the latest `until` (default: the first
 * moment of the next UTC month, when budgets begin anew). Throws `invalid_outcome` for what is no amount.
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

/** A value made by one of the functions above, or else the result of a finished job. */
export function toOutcome(returned: unknown): Outcome {
  const made =
    typeof returned === 'object' && returned !== null ? outcomes.get(returned) : undefined;
  return made ?? done(returned ?? null);
}
