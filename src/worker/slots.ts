/**
 * The worker's places: so many jobs at once of all types together, first come, first served. Who is told
 * when they are full can stop taking what an idle worker would begin at once.
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

  /** The answer gives the place back, once. undefined: there was none within `patienceMs`. */
  async take(waitMs: number): Promise<(() => void) | undefined> {
    if (this.#free === 0) {
      if (!(await this.#comeFree(waitMs))) return undefined;
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

  async #comeFree(patienceMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const come = (): void => {
        clearTimeout(timer);
        resolve(true);
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(come), 1);
        resolve(false);
      }, patienceMs);
      this.#waiting.push(come);
    });
  }
}
