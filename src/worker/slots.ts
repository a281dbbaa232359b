/** The slots in which jobs run, of all types together and of each type, given in order of request. */
import type { AbortSource } from './executors/abort-source.ts';

export interface SlotRequest {
  readonly jobType: string;
  /** Slots that the type may have. */
  readonly limit: number;
}

export interface WaitingRequest extends SlotRequest {
  readonly waitMs: number;
  /** Ends the wait. */
  readonly abort?: AbortSource | undefined;
}

/** Gives the slot back; once. */
export type Release = () => void;

interface Waiting extends SlotRequest {
  readonly answer: (release: Release | undefined) => void;
}

export class Slots {
  readonly #changed: () => void;
  readonly #used = new Map<string, number>();
  #waiting: Waiting[] = [];
  #free: number;
  #closed = false;

  /** `changed` is called after a slot was taken or given back. */
  constructor(count: number, changed: () => void = () => {}) {
    this.#free = count;
    this.#changed = changed;
  }

  get free(): number {
    return this.#free;
  }

  used(jobType: string): number {
    return this.#used.get(jobType) ?? 0;
  }

  /** undefined: none is free now. */
  tryTake(request: SlotRequest): Release | undefined {
    if (this.#closed || !this.#hasRoom(request)) return undefined;
    const release = this.#give(request);
    this.#changed();
    return release;
  }

  /** Resolves to undefined when none became free within `waitMs`. */
  take(request: WaitingRequest): Promise<Release | undefined> {
    const { waitMs, abort } = request;
    const now = this.tryTake(request);
    if (now !== undefined || this.#closed || abort?.aborted === true) return Promise.resolve(now);
    return new Promise((resolve) => {
      const answer = (release: Release | undefined): void => {
        clearTimeout(timer);
        abort?.offAbort(leave);
        resolve(release);
      };
      const waiting = { ...request, answer };
      const leave = (): void => {
        this.#waiting = this.#waiting.filter((one) => one !== waiting);
        answer(undefined);
      };
      const timer = setTimeout(leave, waitMs);
      abort?.onAbort(leave);
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
    return this.#free > 0 && this.used(jobType) < limit;
  }

  #give({ jobType }: SlotRequest): Release {
    this.#used.set(jobType, this.used(jobType) + 1);
    this.#free -= 1;
    return () => {
      this.#used.set(jobType, this.used(jobType) - 1);
      this.#free += 1;
      this.#answerWaiting();
      this.#changed();
    };
  }

  #answerWaiting(): void {
    const next = this.#waiting.findIndex((request) => this.#hasRoom(request));
    if (next === -1) return;
    for (const first of this.#waiting.splice(next, 1)) first.answer(this.#give(first));
  }
}
