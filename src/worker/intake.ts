/**
 * When a job of this worker may begin, and when it may run. A job begins when it may run at once, or, if its type is
 * short, ahead of that, within a limit. A worker that can begin no more jobs of a type stops taking its entries, so
 * that another worker takes them.
 */
import type { AbortSource } from './executors/abort-source.ts';
import { Slots } from './slots.ts';
import type { Release } from './slots.ts';

export interface IntakeOptions {
  /** Jobs that run at once, of all types together. */
  readonly concurrency: number;
  /** Jobs that run at once, by type. */
  readonly limits: ReadonlyMap<string, number>;
  /** Jobs of a type that may have begun before they may run. */
  readonly aheadOf: (jobType: string) => number;
  /** Jobs that wait longer to begin go back, so that another worker runs them. Default 1,000. */
  readonly waitMs?: number | undefined;
  /** The same for jobs that have begun ahead. Default 5,000. */
  readonly recallMs?: number | undefined;
  readonly pause: (jobType: string) => void;
  readonly resume: (jobType: string) => void;
}

/** Of a job that may begin. */
export interface Place {
  /** Resolves when it may run; to undefined when it has to go back: it was aborted, or no slot became free. */
  toRun(abort: AbortSource): Promise<Release | undefined>;
  /** In place of `toRun`: the job did not begin. */
  leave(): void;
}

const defaultWaitMs = 1_000;
const defaultRecallMs = 5_000;

/** Work that may have begun ahead; a job that runs for longer than `shortMs` never does. */
const aheadMs = 100;
const shortMs = 50;

/** Jobs of a type that may have begun ahead, `most` at most. */
export const begunAheadOf = (runMs: number | undefined, most: number): number =>
  runMs === undefined || runMs > shortMs ? 0 : Math.min(most, Math.floor(aheadMs / runMs));

export class Intake {
  readonly #options: IntakeOptions;
  readonly #running: Slots;
  /** Begun ahead, or about to. */
  readonly #ahead: Slots;
  readonly #paused = new Set<string>();
  /** Types whose jobs suddenly run so long that a job had to go back. */
  readonly #stuck = new Set<string>();
  #closed = false;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#running = new Slots(options.concurrency, () => this.#pauseOrResume());
    this.#ahead = new Slots(Infinity, () => this.#pauseOrResume(), true);
  }

  /** Slots in which no job runs. */
  get free(): number {
    return this.#running.free;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Resolves to undefined when the job cannot begin soon. `alone`: it must be able to run at once. */
  async toBegin(jobType: string, alone: boolean): Promise<Place | undefined> {
    const { limits, waitMs = defaultWaitMs } = this.#options;
    const request = { jobType, limit: limits.get(jobType) ?? 0 };
    const free = this.#running.tryTake(request);
    if (free !== undefined) return this.#mayRun(jobType, free);
    const limit = alone ? 0 : this.#aheadOf(jobType);
    if (limit === 0) {
      const slot = await this.#running.take({ ...request, waitMs });
      return slot === undefined ? undefined : this.#mayRun(jobType, slot);
    }
    const leave = await this.#ahead.take({ jobType, limit, waitMs });
    if (leave === undefined) return undefined;
    return {
      toRun: async (abort) => {
        const { recallMs = defaultRecallMs } = this.#options;
        const slot = await this.#running.take({ ...request, waitMs: recallMs, abort });
        if (slot === undefined && !abort.aborted) this.#stuck.add(jobType);
        leave();
        return slot === undefined ? undefined : this.#released(jobType, slot);
      },
      leave,
    };
  }

  /** No job begins any more; those that began and do not run yet go back. */
  close(): void {
    this.#closed = true;
    this.#ahead.close();
    this.#running.close();
  }

  /** None of a stuck type begins ahead until one of its jobs has ended. */
  #aheadOf(jobType: string): number {
    return this.#stuck.has(jobType) ? 0 : this.#options.aheadOf(jobType);
  }

  #released(jobType: string, slot: Release): Release {
    return () => {
      this.#stuck.delete(jobType);
      slot();
    };
  }

  #mayRun(jobType: string, slot: Release): Place {
    const release = this.#released(jobType, slot);
    return { toRun: () => Promise.resolve(release), leave: slot };
  }

  #pauseOrResume(): void {
    if (this.#closed) return;
    const { limits, pause, resume } = this.#options;
    for (const jobType of limits.keys()) {
      const ahead = this.#ahead.used(jobType);
      const limit = this.#aheadOf(jobType);
      const isPaused = this.#paused.has(jobType);
      if (!isPaused && this.free === 0 && ahead >= limit) {
        this.#paused.add(jobType);
        pause(jobType);
      } else if (isPaused && (this.free > 0 || ahead < limit / 2)) {
        this.#paused.delete(jobType);
        resume(jobType);
      }
    }
  }
}
