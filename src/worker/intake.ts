/**
 * When a job of this worker may begin, and when it may run. A job begins when it may run at once, or, if its type is
 * short, ahead of that, within a limit. A worker that can begin no more jobs of a type stops taking its entries, so
 * that another worker takes them.
 */
import type { AbortSource } from './executors/abort-source.ts';
import { AheadPlaces } from './ahead.ts';
import { Slots } from './slots.ts';
import type { Release, SlotRequest } from './slots.ts';

export interface IntakeOptions {
  /** Jobs that run at once, of all types together. */
  readonly concurrency: number;
  /** Jobs that run at once, by type. */
  readonly limits: ReadonlyMap<string, number>;
  /** Jobs of a type that may have begun before they may run. */
  readonly aheadOf: (jobType: string) => number;
  /** Jobs that have begun ahead and wait longer for a slot go back. Default 5,000. */
  readonly recallMs?: number | undefined;
  readonly pause: (jobType: string) => void;
  readonly resume: (jobType: string) => void;
}

/** Of jobs that may begin. */
export interface Places {
  readonly count: number;
  /** One for each of them, where they may run at once. */
  readonly slots?: readonly Release[];
}

const defaultRecallMs = 5_000;

/** What has begun ahead is to last for so long: longer than a begin takes. A job that runs for longer than `shortMs` never does. */
const aheadMs = 15;
const shortMs = 50;

/** Jobs of a type with so many slots that may have begun ahead, `most` at most. */
export const begunAheadOf = (runMs: number | undefined, slots: number, most: number): number =>
  runMs === undefined || runMs > shortMs
    ? 0
    : Math.min(most, Math.max(1, Math.floor((slots * aheadMs) / runMs)));

export class Intake {
  readonly #options: IntakeOptions;
  readonly #running: Slots;
  readonly #ahead: AheadPlaces;
  readonly #paused = new Set<string>();
  /** Types whose jobs suddenly run so long that a job had to go back. */
  readonly #stuck = new Set<string>();
  #closed = false;
  #draining = false;

  constructor(options: IntakeOptions) {
    this.#options = options;
    const changed = (): void => this.#pauseOrResume();
    this.#running = new Slots(options.concurrency, changed);
    this.#ahead = new AheadPlaces(changed);
  }

  /** Slots in which no job runs. */
  get free(): number {
    return this.#running.free;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** No job begins until `drain(false)`; those that have begun run. */
  get isDraining(): boolean {
    return this.#draining;
  }

  drain(isDraining: boolean): void {
    if (this.#closed || this.#draining === isDraining) return;
    this.#draining = isDraining;
    if (!isDraining) return this.#pauseOrResume();
    for (const jobType of this.#options.limits.keys()) {
      if (this.#paused.has(jobType)) continue;
      this.#paused.add(jobType);
      this.#options.pause(jobType);
    }
  }

  /**
   * Places for `count` jobs of a type or for some of them, with slots where any is free; undefined when none of them can
   * begin soon. `alone`: they must be able to run at once.
   */
  async toBegin(
    jobType: string,
    count: number,
    { alone, waitMs }: { readonly alone: boolean; readonly waitMs: number },
  ): Promise<Places | undefined> {
    if (this.#draining) return undefined;
    const request = this.#requestOf(jobType);
    const slots: Release[] = [];
    while (slots.length < count) {
      const free = this.#running.tryTake(request);
      if (free === undefined) break;
      slots.push(free);
    }
    if (slots.length > 0) return { count: slots.length, slots };
    const limit = alone ? 0 : this.#aheadOf(jobType);
    if (limit === 0) {
      const slot = await this.#running.take({ ...request, waitMs });
      if (this.isDraining) slot?.();
      return slot === undefined || this.isDraining ? undefined : { count: 1, slots: [slot] };
    }
    const taken = await this.#ahead.take({ jobType, limit, count, waitMs });
    if (this.isDraining) this.leave(jobType, taken);
    return taken === 0 || this.isDraining ? undefined : { count: taken };
  }

  /** Gives back places without slots. */
  leave(jobType: string, count: number): void {
    if (count > 0) this.#ahead.giveBack(jobType, count);
  }

  /**
   * Jobs that share a slot: they run in it one after another, so that their thread need not wait for the next. Half of
   * those that begin ahead wait in this way, the other half for a slot.
   */
  laneSize(jobType: string): number {
    return Math.floor(this.#aheadOf(jobType) / 2 / this.#requestOf(jobType).limit) + 1;
  }

  /** A slot for jobs that began ahead; undefined when none became free, or `abort` aborted. */
  async toRun(jobType: string, abort: AbortSource): Promise<Release | undefined> {
    const { recallMs = defaultRecallMs } = this.#options;
    const request = this.#requestOf(jobType);
    const slot = await this.#running.take({ ...request, waitMs: recallMs, abort });
    if (slot === undefined && !abort.aborted) this.#stuck.add(jobType);
    return slot;
  }

  /** A job of the type has ended. */
  ended(jobType: string): void {
    this.#stuck.delete(jobType);
  }

  /** No job begins any more; those that began and do not run yet go back. */
  close(): void {
    this.#closed = true;
    this.#ahead.close();
    this.#running.close();
  }

  #requestOf(jobType: string): SlotRequest {
    return { jobType, limit: this.#options.limits.get(jobType) ?? 0 };
  }

  /** None of a stuck type begins ahead until one of its jobs has ended. */
  #aheadOf(jobType: string): number {
    return this.#stuck.has(jobType) ? 0 : this.#options.aheadOf(jobType);
  }

  #pauseOrResume(): void {
    if (this.#closed || this.#draining) return;
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
