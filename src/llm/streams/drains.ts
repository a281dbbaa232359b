/**
 * Streams that nobody reads any more, read on for their usage alone. Beyond a bound the oldest ones are cut, and stay
 * charged at their holds.
 */
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';

/** After the timeout of the call: half of the time that its hold has left, the other half is for its end. */
const usualDrainMs = 30_000;
/** Of the requests of all of them; fetch keeps a request until its response has ended. */
const usualMaxBytes = 32 * 1024 * 1024;
/** What a connection takes beside its request. */
const connectionBytes = 64 * 1024;

const closeWithinMs = 5_000;

export interface Drain {
  readonly requestBytes: number;
  /** Ends the reading. */
  readonly cut: () => void;
  /** Settles when its hold has ended. */
  readonly ended: Promise<unknown>;
}

export interface DrainLimits {
  /** For the usage of one stream after the timeout of its call. Default and maximum 30,000. */
  readonly drainMs?: number;
  /** Of the requests of all that are read on. Default 32 MiB. */
  readonly maxBytes?: number;
}

export class Drains {
  readonly drainMs: number;
  readonly #maxBytes: number;
  /** With the bytes that count; 0 once it is cut. */
  readonly #open = new Map<Drain, number>();
  #bytes = 0;
  #isClosed = false;

  constructor({ drainMs = usualDrainMs, maxBytes = usualMaxBytes }: DrainLimits = {}) {
    this.drainMs = Math.min(drainMs, usualDrainMs);
    this.#maxBytes = maxBytes;
  }

  add(drain: Drain): void {
    this.#count(drain, drain.requestBytes + connectionBytes);
    const remove = (): void => {
      this.#count(drain, 0);
      this.#open.delete(drain);
    };
    drain.ended.then(remove, remove);
    if (this.#isClosed) drain.cut();
    for (const [oldest, bytes] of this.#open) {
      if (this.#bytes <= this.#maxBytes) break;
      if (bytes > 0) oldest.cut();
      this.#count(oldest, 0);
    }
  }

  #count(drain: Drain, bytes: number): void {
    this.#bytes += bytes - (this.#open.get(drain) ?? 0);
    this.#open.set(drain, bytes);
  }

  /**
   * Cuts all of them, also those that are added later, and resolves when their holds have ended; after 5 s also while
   * the database does not answer: those expire.
   */
  async close(): Promise<void> {
    this.#isClosed = true;
    // Those of attempts that ended in this very turn come before it.
    await setImmediate();
    for (const { cut } of this.#open.keys()) cut();
    const ends = Promise.allSettled([...this.#open.keys()].map(({ ended }) => ended));
    await Promise.race([ends, sleep(closeWithinMs, undefined, { ref: false })]);
  }
}
