/**
 * Gathers items that are sent in one statement: the first is sent at once, and those that come while a statement is
 * running go together in the next one.
 */

export interface GatherLimits<Item> {
  readonly maxItems: number;
  /** Default: none. */
  readonly maxSize?: number | undefined;
  /** Default: 0. */
  readonly sizeOf?: (item: Item) => number;
  /** An item waits for the answer to an earlier statement, but no longer than this: that one may wait for a lock. */
  readonly longestWaitMs: number;
}

export class Gatherer<Item> {
  readonly #send: (items: readonly Item[]) => Promise<void>;
  readonly #limits: GatherLimits<Item>;
  #waiting: Item[] = [];
  #inFlight = 0;
  #isScheduled = false;
  #timer: NodeJS.Timeout | undefined;

  /** `send` answers the items itself and never rejects. */
  constructor(send: (items: readonly Item[]) => Promise<void>, limits: GatherLimits<Item>) {
    this.#send = send;
    this.#limits = limits;
  }

  /** Whether nothing waits and no statement is running. */
  get isIdle(): boolean {
    return this.#inFlight === 0 && this.#waiting.length === 0;
  }

  add(item: Item): void {
    this.#waiting.push(item);
    if (this.#inFlight > 0) {
      this.#timer ??= setTimeout(() => this.#sendNext(), this.#limits.longestWaitMs);
    } else if (!this.#isScheduled) {
      this.#isScheduled = true;
      // After the callbacks of this turn: their items go together.
      process.nextTick(() => this.#sendNext());
    }
  }

  #sendNext(): void {
    this.#isScheduled = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const items = this.#takeItems();
    if (items.length === 0) return;
    this.#inFlight += 1;
    void this.#send(items).finally(() => {
      this.#inFlight -= 1;
      this.#sendNext();
    });
    if (this.#waiting.length > 0) {
      this.#timer = setTimeout(() => this.#sendNext(), this.#limits.longestWaitMs);
    }
  }

  #takeItems(): Item[] {
    const { maxItems, maxSize = Infinity, sizeOf = () => 0 } = this.#limits;
    let size = 0;
    let count = 0;
    for (const item of this.#waiting) {
      size += sizeOf(item);
      if (count > 0 && (count === maxItems || size > maxSize)) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }
}
