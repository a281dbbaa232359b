/** What stays the same is said once a minute: an outage is news, each of its retries is not. */
import { codeOf } from '../errors.ts';
import type { Logger } from '../log.ts';

const againAfterMs = 60_000;

export class LogThrottle {
  readonly #saidAtMs = new Map<string, number>();

  /** Whether `what` was not said within the last minute; if so, it counts as said now. */
  isDue(what: string): boolean {
    const nowMs = performance.now();
    if (nowMs - (this.#saidAtMs.get(what) ?? -Infinity) < againAfterMs) return false;
    this.#saidAtMs.set(what, nowMs);
    return true;
  }
}

/** The part of a logger that `warnRarely` gives. */
export interface Warnings {
  warn(fields: { readonly error: unknown; readonly queue?: string }, event: string): void;
}

/** Warnings of what a driver tries again by itself, each kind of failure of an event once a minute. */
export function warnThrottled(log: Pick<Logger, 'warn'>): Warnings {
  const rarely = new LogThrottle();
  return {
    warn: (fields, event) => {
      if (rarely.isDue(`${event} ${codeOf(fields.error)}`)) log.warn(fields, event);
    },
  };
}
