/**
 * How many entries a queue should hold. A queue is refilled when half of its depth has drained, so that a round of
 * dispatch serves many jobs; the depth is the work of two refills (Little's law: rate x time), within bounds that keep
 * a queue short enough for fairness between tenants.
 */

/** Entries per worker slot. */
const least = 2;
const most = 20;
/** Time that half of the depth should last. */
const refillEveryMs = 100;
/** Weight of the newest rate. */
const newest = 0.3;

interface Drain {
  atMs: number;
  /** Entries in the queue after the last round. */
  queued: number;
  /** Entries per millisecond. */
  rate: number;
}

export class QueueDepths {
  readonly #drains = new Map<string, Drain>();

  /**
   * Room for new entries in the queue of a type that holds `queued` entries and is served by `slots` worker slots; 0
   * while more than half of the depth is left. `nowMs` is a monotonic time.
   */
  room(jobType: string, slots: number, queued: number, nowMs = performance.now()): number {
    const drain = this.#drains.get(jobType) ?? { atMs: nowMs, queued, rate: 0 };
    this.#drains.set(jobType, drain);
    const elapsedMs = nowMs - drain.atMs;
    if (elapsedMs > 0) {
      const rate = Math.max(0, drain.queued - queued) / elapsedMs;
      drain.rate += newest * (rate - drain.rate);
    }
    drain.atMs = nowMs;
    drain.queued = queued;
    const wanted = Math.ceil(2 * refillEveryMs * drain.rate);
    const depth = Math.min(slots * most, Math.max(slots * least, wanted));
    return queued <= depth / 2 ? depth - queued : 0;
  }

  /** Entries that a round added. */
  added(jobType: string): void {
    const drain = this.#drains.get(jobType);
    if (drain !== undefined) drain.queued += 1;
  }
}
