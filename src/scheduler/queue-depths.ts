/**
 * How many jobs the entries of a queue should hold. A queue is refilled when half of its depth has drained, so that a
 * round of dispatch serves many jobs; the depth is the work of two refills (Little's law: rate x time), within bounds
 * that keep a queue short enough for fairness between tenants.
 */
import type { TypeSlots } from '../db/heartbeats.ts';

/** Jobs per worker slot. */
const least = 2;
const mostOfUnknown = 20;
/** Entries with many jobs per worker: of one slot, the work of 200 ms at most, whatever the rate was before. */
const entriesOfWorker = 4;
/** Of a job that does nothing, its begin and its end included. */
const leastRunMs = 0.1;
/**
 * Time that half of the depth should last, where rounds are not further apart. Of very short jobs it is longer: a round
 * would cost as much as they do.
 */
const leastRefillEveryMs = 25;
const ofVeryShortMs = 100;
const veryShortMs = 2;
/** Of a round that came late, what is made up for by a longer queue. */
const mostLateMs = 100;
/** More would make a tenant's first job wait behind seconds of others. */
const mostRefillEveryMs = 1_000;
/** A count of what is queued is used for so long. */
const countForMs = 100;
/** Weight of the newest rate. */
const newest = 0.3;

/** Of the time in which the queue should drain to half of its depth, how much may pass before it is looked at again. */
const unseenShare = 0.7;

interface Drain {
  /** When the jobs in the queue were counted. */
  atMs: number;
  /** Jobs in the queue after the last round, if none had left it since they were counted. */
  queued: number;
  depth: number;
  refillEveryMs: number;
  /** Jobs per millisecond. */
  rate: number;
}

/** Work in one entry. */
const chunkMs = 50;

export class QueueDepths {
  readonly #drains = new Map<string, Drain>();
  readonly #jobsPerEntry: number;
  #roundsEveryMs = 0;
  #served: ReadonlySet<string> | undefined;

  /** `jobsPerEntry`: at most. */
  constructor(jobsPerEntry = 100) {
    this.#jobsPerEntry = jobsPerEntry;
  }

  /** Jobs per entry: one where the run time of the type is long, or not known. */
  chunk(runMs: number | null): number {
    return runMs === null
      ? 1
      : Math.max(1, Math.min(this.#jobsPerEntry, Math.floor(chunkMs / runMs)));
  }

  /** Rounds are so far apart while there is work: a queue has to last for longer. */
  roundsEvery(ms: number): void {
    this.#roundsEveryMs = Math.min(mostRefillEveryMs, 2 * ms);
  }

  /** The types that live workers run. */
  serves(jobTypes: readonly string[]): void {
    this.#served = new Set(jobTypes);
  }

  /**
   * Whether there is room even if no job has left the queue since they were counted, a short time ago; or no worker ran
   * the type in the last round.
   */
  needsNoCount(jobType: string, nowMs = performance.now()): boolean {
    if (this.#served?.has(jobType) === false) return true;
    const drain = this.#drains.get(jobType);
    return (
      drain !== undefined && nowMs - drain.atMs < countForMs && drain.queued <= drain.depth / 2
    );
  }

  /** False while, by the last rate, more than half of the depth is surely left. */
  mayHaveRoom(jobType: string, nowMs = performance.now()): boolean {
    const drain = this.#drains.get(jobType);
    if (drain === undefined || drain.rate === 0) return true;
    const drainedInMs = (drain.queued - drain.depth / 2) / drain.rate;
    return nowMs - drain.atMs >= unseenShare * Math.min(drainedInMs, drain.refillEveryMs);
  }

  /**
   * Room for new jobs in the queue of a type that holds `queued` jobs and is served by `slots` worker slots; 0 while
   * more than half of the depth is left. Not counted (undefined): the room that there surely is. `nowMs` is a monotonic
   * time.
   */
  room(
    jobType: string,
    { slots, workers, runMs }: TypeSlots,
    queued: number | undefined,
    nowMs = performance.now(),
  ): number {
    const known = this.#drains.get(jobType);
    if (queued === undefined) {
      return known === undefined ? 0 : Math.max(0, Math.floor(known.depth) - known.queued);
    }
    const drain = known ?? { atMs: nowMs, queued, depth: 0, rate: 0, refillEveryMs: 0 };
    this.#drains.set(jobType, drain);
    const elapsedMs = nowMs - drain.atMs;
    // It ran dry: this round came late.
    const lateMs = queued === 0 && drain.queued > 0 ? Math.min(elapsedMs, mostLateMs) : 0;
    if (elapsedMs > 0) {
      const rate = Math.max(0, drain.queued - queued) / elapsedMs;
      // An empty queue says only that the workers are at least so fast: they may have waited for most of the time.
      if (queued > 0 || rate > drain.rate) drain.rate += newest * (rate - drain.rate);
    }
    drain.atMs = nowMs;
    drain.queued = queued;
    const leastMs = runMs !== null && runMs < veryShortMs ? ofVeryShortMs : leastRefillEveryMs;
    drain.refillEveryMs = Math.max(leastMs, this.#roundsEveryMs);
    const lastsMs = 2 * Math.max(drain.refillEveryMs, lateMs);
    const wanted = Math.ceil(lastsMs * drain.rate);
    const most = slots * (runMs === null ? mostOfUnknown : lastsMs / Math.max(leastRunMs, runMs));
    const chunk = this.chunk(runMs);
    const first = Math.max(slots * least, chunk === 1 ? 0 : workers * entriesOfWorker * chunk);
    const depth = Math.max(first, Math.min(most, wanted));
    drain.depth = depth;
    return queued <= depth / 2 ? Math.floor(depth) - queued : 0;
  }

  /** A job that a round added. */
  added(jobType: string): void {
    const drain = this.#drains.get(jobType);
    if (drain !== undefined) drain.queued += 1;
  }
}
