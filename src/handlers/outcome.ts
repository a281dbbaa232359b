/**
 * How an attempt ends, as a value. Throwing is for the unexpected; these are for what a handler decides.
 */

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
/** Ends the job as cancelled. */
export interface Cancel {
  readonly kind: 'cancel';
  readonly reason: string;
}

export type Outcome = Done | Retry | Snooze | Cancel;

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

export const cancel = (options: { reason: string }): Cancel =>
  outcome({ kind: 'cancel', reason: options.reason });

/** A value made by one of the functions above, or else the result of a finished job. */
export function toOutcome(returned: unknown): Outcome {
  const made =
    typeof returned === 'object' && returned !== null ? outcomes.get(returned) : undefined;
  return made ?? done(returned ?? null);
}
