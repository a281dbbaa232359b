/** How long the supervisor waits for an executor, and for what. */

export interface ExecutorTiming {
  /** Silence of a loop after which it is blocked, and gets nothing new. */
  readonly blockedAfterMs: number;
  /** Silence after which a blocked thread is killed for its neighbours' sake, before any deadline. */
  readonly strandedAfterMs: number;
  /** Time for neighbours to finish in a thread that has to go because of what one job left behind. */
  readonly drainMs: number;
  /** Time of a thread to close its connections when it is not needed any more. */
  readonly stopWithinMs: number;
  /** A thread that is not gone by then is stuck in native code. */
  readonly terminateWithinMs: number;
  /** Time to load the handlers. */
  readonly readyWithinMs: number;
}

export const defaultTiming: ExecutorTiming = {
  blockedAfterMs: 1_000,
  strandedAfterMs: 10_000,
  drainMs: 5_000,
  stopWithinMs: 1_000,
  terminateWithinMs: 2_000,
  readyWithinMs: 60_000,
};
