/** Turns at writing: one a second, however many ask. */
import { setTimeout as sleep } from 'node:timers/promises';

export interface Clock {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<unknown>;
}

export const processClock: Clock = {
  now: () => performance.now(),
  // Keeps no process alive.
  sleep: (ms) => sleep(ms, undefined, { ref: false }),
};

const everyMs = 1_000;

export class WritePace {
  readonly #clock: Clock;
  #nextAtMs = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves when it is this one's turn: true. False at once where that is later than `withinMs`. */
  async turn(withinMs = Infinity): Promise<boolean> {
    const now = this.#clock.now();
    const waitMs = Math.max(0, this.#nextAtMs - now);
    if (waitMs > withinMs) return false;
    this.#nextAtMs = now + waitMs + everyMs;
    if (waitMs > 0) await this.#clock.sleep(waitMs);
    return true;
  }
}
