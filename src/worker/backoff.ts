/**
 * Exponential backoff with full jitter: a uniformly random wait between 0 and min(cap, base * 2^(n-1)).
 * Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 */
import type { Backoff } from '../handlers/define.ts';

/** Milliseconds to wait after the `attempt`-th attempt (1 for the first) failed. */
export function backoffMs(
  attempt: number,
  backoff: Backoff,
  random: () => number = Math.random,
): number {
  const ceiling = Math.min(backoff.capMs, backoff.baseMs * 2 ** (attempt - 1));
  return Math.round(random() * ceiling);
}
