/** Places of jobs that have begun and may not run yet, by type. Who has to wait for some gets them many at once. */

export interface PlacesRequest {
  readonly jobType: string;
  /** Places that the type has. */
  readonly limit: number;
  /** Places that are wanted. */
  readonly count: number;
  readonly waitMs: number;
}

interface Waiting extends PlacesRequest {
  readonly answer: (count: number) => void;
}

export class AheadPlaces {
  readonly #changed: () => void;
  readonly #used = new Map<string, number>();
  #waiting: Waiting[] = [];
  #closed = false;

  /** `changed` is called after places were taken or given back. */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  used(jobType: string): number {
    return this.#used.get(jobType) ?? 0;
  }

  /** Resolves to how many of the wanted places were taken: 0 when none became free within `waitMs`. */
  take(request: PlacesRequest): Promise<number> {
    if (this.#closed) return Promise.resolve(0);
    const isBehind = this.#waiting.some(({ jobType }) => jobType === request.jobType);
    const now = isBehind ? 0 : this.#takeFree(request);
    if (now > 0) {
      this.#changed();
      return Promise.resolve(now);
    }
    return new Promise((resolve) => {
      const waiting = {
        ...request,
        answer: (count: number) => {
          clearTimeout(timer);
          resolve(count);
        },
      };
      const timer = setTimeout(() => {
        this.#waiting = this.#waiting.filter((one) => one !== waiting);
        resolve(0);
      }, request.waitMs);
      this.#waiting.push(waiting);
    });
  }

  giveBack(jobType: string, count: number): void {
    this.#used.set(jobType, this.used(jobType) - count);
    this.#answerWaiting(jobType);
    this.#changed();
  }

  /** Nobody gets a place any more, who waits for some included. */
  close(): void {
    this.#closed = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { answer } of waiting) answer(0);
  }

  #takeFree({ jobType, limit, count }: PlacesRequest): number {
    const used = this.used(jobType);
    const taken = Math.max(0, Math.min(count, limit - used));
    if (taken > 0) this.#used.set(jobType, used + taken);
    return taken;
  }

  /** Once half of the places of the type are free. */
  #answerWaiting(jobType: string): void {
    const first = this.#waiting.find((request) => request.jobType === jobType);
    if (first === undefined || this.used(jobType) > first.limit / 2) return;
    const left: Waiting[] = [];
    for (const request of this.#waiting) {
      const taken = request.jobType === jobType ? this.#takeFree(request) : 0;
      if (taken > 0) request.answer(taken);
      else left.push(request);
    }
    this.#waiting = left;
  }
}
