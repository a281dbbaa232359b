/** Limits repeated log lines to one a minute: an outage is logged, not each of its retries. */
import { codeOf } from '../errors.ts';
import type { Logger } from '../log.ts';

const intervalMs = 60_000;

export class LogThrottle {
  readonly #loggedAtMs = new Map<string, number>();

  /** Whether `key` was not logged within the last minute; if true, it counts as logged now. */
  isDue(key: string): boolean {
    const nowMs = performance.now();
    if (nowMs - (this.#loggedAtMs.get(key) ?? -Infinity) < intervalMs) return false;
    this.#loggedAtMs.set(key, nowMs);
    return true;
  }
}

/** The part of a logger that `warnThrottled` returns. */
export interface Warnings {
  warn(fields: { readonly error: unknown; readonly queue?: string }, event: string): void;
}

/** For failures that a driver retries by itself: logs each event and error code once a minute. */
export function warnThrottled(log: Pick<Logger, 'warn'>): Warnings {
  const throttle = new LogThrottle();
  return {
    warn: (fields, event) => {
      if (throttle.isDue(`${event} ${codeOf(fields.error)}`)) log.warn(fields, event);
    },
  };
}
