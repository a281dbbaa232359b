/**
 * Streams that nobody reads any more, read on for their usage alone. Beyond a bound the oldest ones are cut, and stay
 * charged at their holds.
 */
import { setImmediate } from 'node:timers/promises';

/** After the timeout of the call: half of the time that its hold has left, the other half is for its end. */
const usualDrainMs = 30_000;
/** Of the requests of all of them; fetch keeps a request until its response has ended. */
const usualMaxBytes = 32 * 1024 * 1024;
/** What a connection takes beside its request. */
const connectionBytes = 64 * 1024;

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
  readonly #open = new Set<Drain>();
  #bytes = 0;
  #isClosed = false;

  constructor({ drainMs = usualDrainMs, maxBytes = usualMaxBytes }: DrainLimits = {}) {
    this.drainMs = Math.min(drainMs, usualDrainMs);
    this.#maxBytes = maxBytes;
  }

  get size(): number {
    return this.#open.size;
  }

  add(drain: Drain): void {
    const bytes = drain.requestBytes + connectionBytes;
    this.#open.add(drain);
    this.#bytes += bytes;
    const remove = (): void => {
      if (this.#open.delete(drain)) this.#bytes -= bytes;
    };
    drain.ended.then(remove, remove);
    if (this.#isClosed) drain.cut();
    for (const oldest of this.#open) {
      if (this.#bytes <= this.#maxBytes) break;
      oldest.cut();
      this.#open.delete(oldest);
      this.#bytes -= oldest.requestBytes + connectionBytes;
    }
  }

  /** Cuts all of them, also those that are added later, and resolves when their holds have ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    // Those of attempts that ended in this very turn come before it.
    await setImmediate();
    while (this.#open.size > 0) {
      const open = [...this.#open];
      for (const { cut } of open) cut();
      await Promise.allSettled(open.map(({ ended }) => ended));
    }
  }
}
