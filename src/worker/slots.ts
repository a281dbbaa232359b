/**
 * The jobs that a worker may run at once, of all types together and of each type, given in order of request. A full
 * worker can stop taking entries, so that a free one takes them.
 */

export interface SlotEvents {
  readonly full: () => void;
  readonly free: () => void;
}

export interface SlotRequest {
  readonly jobType: string;
  /** Slots that the type may have. */
  readonly limit: number;
  readonly waitMs: number;
}

type Release = () => void;

interface Waiting extends SlotRequest {
  readonly answer: (release: Release | undefined) => void;
}

export class Slots {
  readonly #events: SlotEvents;
  readonly #used = new Map<string, number>();
  #waiting: Waiting[] = [];
  #free: number;
  #closed = false;

  constructor(count: number, events: SlotEvents) {
    this.#free = count;
    this.#events = events;
  }

  get free(): number {
    return this.#free;
  }

  /** Resolves to the function that releases the slot, or to undefined when none became free within `waitMs`. */
  take(request: SlotRequest): Promise<Release | undefined> {
    if (this.#closed) return Promise.resolve(undefined);
    if (this.#hasRoom(request)) {
      const release = this.#give(request);
      if (this.#free === 0) this.#events.full();
      return Promise.resolve(release);
    }
    return new Promise((resolve) => {
      const waiting = {
        ...request,
        answer: (release: Release | undefined) => {
          clearTimeout(timer);
          resolve(release);
        },
      };
      const timer = setTimeout(() => {
        this.#waiting = this.#waiting.filter((one) => one !== waiting);
        resolve(undefined);
      }, request.waitMs);
      this.#waiting.push(waiting);
    });
  }

  /** Nobody gets a slot any more, who waits for one included. */
  close(): void {
    this.#closed = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { answer } of waiting) answer(undefined);
  }

  #hasRoom({ jobType, limit }: SlotRequest): boolean {
    return this.#free > 0 && (this.#used.get(jobType) ?? 0) < limit;
  }

  #give({ jobType }: SlotRequest): Release {
    this.#used.set(jobType, (this.#used.get(jobType) ?? 0) + 1);
    this.#free -= 1;
    return () => {
      this.#used.set(jobType, (this.#used.get(jobType) ?? 0) - 1);
      this.#free += 1;
      const next = this.#waiting.findIndex((waiting) => this.#hasRoom(waiting));
      const [waiting] = next === -1 ? [] : this.#waiting.splice(next, 1);
      if (waiting !== undefined) waiting.answer(this.#give(waiting));
      else if (this.#free === 1) this.#events.free();
    };
  }
}
