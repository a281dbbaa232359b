/**
 * The jobs that a worker may run at once, of all types together, given in order of request. A full worker can stop
 * taking entries, so that a free one takes them.
 */

export interface SlotEvents {
  readonly full: () => void;
  readonly free: () => void;
}

export class Slots {
  readonly #events: SlotEvents;
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(count: number, events: SlotEvents) {
    this.#free = count;
    this.#events = events;
  }

  get free(): number {
    return this.#free;
  }

  /** Resolves to the function that releases the slot, or to undefined when none became free within `waitMs`. */
  async take(waitMs: number): Promise<(() => void) | undefined> {
    if (this.#free === 0) {
      if (!(await this.#waitForSlot(waitMs))) return undefined;
    } else {
      this.#free -= 1;
      if (this.#free === 0) this.#events.full();
    }
    return () => {
      const next = this.#waiting.shift();
      if (next !== undefined) {
        next();
        return;
      }
      this.#free += 1;
      if (this.#free === 1) this.#events.free();
    };
  }

  async #waitForSlot(waitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const give = (): void => {
        clearTimeout(timer);
        resolve(true);
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(give), 1);
        resolve(false);
      }, waitMs);
      this.#waiting.push(give);
    });
  }
}
