/** How long the supervisor waits for an executor. */

export interface ExecutorTiming {
  /** Time without a heartbeat after which a thread is blocked: it gets no new attempts. */
  readonly blockedAfterMs: number;
  /** Time without a heartbeat after which a thread with several attempts is killed, before any deadline. */
  readonly killBlockedAfterMs: number;
  /** Time for the other attempts of a retired executor to finish. */
  readonly drainMs: number;
  /** Time for an unused executor to close its connections. */
  readonly stopWithinMs: number;
  /** A thread that has not ended this long after its termination is stuck in native code. */
  readonly terminateWithinMs: number;
  /** Time to load the handlers. */
  readonly readyWithinMs: number;
}

export const defaultTiming: ExecutorTiming = {
  blockedAfterMs: 1_000,
  killBlockedAfterMs: 10_000,
  drainMs: 5_000,
  stopWithinMs: 1_000,
  terminateWithinMs: 2_000,
  readyWithinMs: 60_000,
};

/**
 * Calls `check` with the time, by performance.now(). Skipped when this process itself was suspended or starved: its
 * threads were, too.
 */
export function everyUnlessLate(everyMs: number, check: (nowMs: number) => void): NodeJS.Timeout {
  let checkedAtMs = performance.now();
  return setInterval(() => {
    const nowMs = performance.now();
    const late = nowMs - checkedAtMs > everyMs * 4;
    checkedAtMs = nowMs;
    if (!late) check(nowMs);
  }, everyMs);
}
