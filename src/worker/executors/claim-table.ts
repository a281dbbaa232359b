/**
 * Memory that the supervisor and one executor thread share, because a blocked thread answers no message: its
 * heartbeat, the attempt whose code runs now, and one claim per attempt. Whoever claims first decides whether the
 * attempt starts in this thread or is given to another one. Starts and ends stand here before their messages are sent.
 */

/** More than a worker begins: 1,000 that run and 1,000 ahead. */
const size = 4096;

/** Slots with the same word collide. */
export const wordOf = (slotIndex: number): number => 2 + (slotIndex % (size - 1));

export class ClaimTable {
  readonly memory: SharedArrayBuffer;
  readonly #heartbeat: BigInt64Array<SharedArrayBuffer>;
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(memory = new SharedArrayBuffer(16 + size * 4)) {
    this.memory = memory;
    this.#heartbeat = new BigInt64Array(memory, 0, 1);
    this.#words = new Int32Array(memory, 8);
  }

  /** Called by the executor's event loop. */
  heartbeat(): void {
    Atomics.store(this.#heartbeat, 0, process.hrtime.bigint());
  }

  /** Milliseconds since the last heartbeat; undefined before the first. */
  heartbeatAgeMs(): number | undefined {
    const last = Atomics.load(this.#heartbeat, 0);
    return last === 0n ? undefined : Number(process.hrtime.bigint() - last) / 1e6;
  }

  /** Records which attempt's code runs; 0 for code of no attempt. */
  setRunning(slotIndex: number): void {
    Atomics.store(this.#words, 0, slotIndex);
  }

  running(): number {
    return Atomics.load(this.#words, 0);
  }

  /** Makes an attempt claimable, before it is sent. Slots count from 1; one that collides must have been claimed. */
  offer(slotIndex: number): void {
    Atomics.store(this.#words, wordOf(slotIndex), slotIndex);
  }

  /** True for the first claim since the slot was offered. */
  claim(slotIndex: number): boolean {
    const word = wordOf(slotIndex);
    return Atomics.compareExchange(this.#words, word, slotIndex, 0) === slotIndex;
  }

  /** The attempt that was claimed has ended. */
  end(slotIndex: number): void {
    // Another attempt may have been offered in the same word, where the supervisor gave this one up.
    Atomics.compareExchange(this.#words, wordOf(slotIndex), 0, -slotIndex);
  }

  /** Of an attempt that was offered and that its owner has not claimed: whether the executor did. */
  isClaimed(slotIndex: number): boolean {
    return Atomics.load(this.#words, wordOf(slotIndex)) !== slotIndex;
  }

  hasEnded(slotIndex: number): boolean {
    return Atomics.load(this.#words, wordOf(slotIndex)) === -slotIndex;
  }
}
