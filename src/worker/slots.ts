/** The jobs that may run (or be begun) at once, of all types together and of each type, given in order of request. */
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
  readonly #inGroups: boolean;
  readonly #used = new Map<string, number>();
  #waiting: Waiting[] = [];
  #free: number;
  #closed = false;

  /**
   * `changed` is called after a slot was taken or given back. With `inGroups`, requests that had to wait are answered
   * when half of the slots of their type are free, many at once.
   */
  constructor(count: number, changed: () => void = () => {}, inGroups = false) {
    this.#free = count;
    this.#changed = changed;
    this.#inGroups = inGroups;
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
    const { jobType } = request;
    if (this.#inGroups && this.#waiting.some((waiting) => waiting.jobType === jobType)) {
      return undefined;
    }
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
    const next = this.#waiting.findIndex(
      (request) =>
        this.#hasRoom(request) &&
        !(this.#inGroups && this.used(request.jobType) > request.limit / 2),
    );
    const first = this.#waiting[next];
    if (first === undefined) return;
    if (!this.#inGroups) {
      this.#waiting.splice(next, 1);
      first.answer(this.#give(first));
      return;
    }
    const left: Waiting[] = [];
    for (const request of this.#waiting) {
      const isAnswered = request.jobType === first.jobType && this.#hasRoom(request);
      if (isAnswered) request.answer(this.#give(request));
      else left.push(request);
    }
    this.#waiting = left;
  }
}
