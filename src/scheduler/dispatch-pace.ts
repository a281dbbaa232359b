/**
 * When the dispatch looks again. After each round it rests for longer than the round's jobs explain: where rounds become
 * dear, because dead rows cannot be removed or others take the processor, they become fewer and each serves more jobs.
 */
import { listeningEveryMs } from '../jobs/dispatch.ts';

/** After each round, of its time beyond that of its jobs. */
const restShare = 2;
const jobMs = 0.1;
/** Between the beginnings of two rounds that find work: a round costs much the same for one job as for ten. */
const leastEveryMs = 10;
/** A busy worker empties a queue in less than the pause of an idle fleet. */
const busyEveryMs = 20;
const busyForMs = 1_000;
/** The pause of an idle fleet. */
const idleEveryMs = 300;
/** A transaction that began before may still enqueue without waking anybody. */
const idleAfterMs = 10_000;

export interface DispatchPaceOptions {
  /** Enqueues wake the dispatch. */
  readonly listens?: boolean;
  /** Pause after a round without work. Default: 20 ms while there was work lately, then 300, with `listens` 1,000. */
  readonly everyMs?: number | undefined;
}

export class DispatchPace {
  readonly #listens: boolean;
  readonly #everyMs: number | undefined;
  /** Of the last round: its time, and what its jobs do not explain of it. */
  #roundMs = 0;
  #dearMs = 0;
  #workedAtMs = -Infinity;
  #dueInMs = Infinity;

  constructor({ listens = false, everyMs }: DispatchPaceOptions = {}) {
    this.#listens = listens;
    this.#everyMs = everyMs;
  }

  /** The round found that the next job will be due in so many milliseconds. */
  nextDueIn(ms: number): void {
    this.#dueInMs = Math.ceil(ms);
  }

  /** The rest after a round. */
  restMs(roundMs: number, work: number): number {
    this.#roundMs = roundMs;
    this.#dearMs = Math.max(0, roundMs - jobMs * work);
    if (work > 0) this.#workedAtMs = performance.now();
    return Math.max(restShare * this.#dearMs, work > 0 ? leastEveryMs - roundMs : 0);
  }

  /** The pause after a round without work. */
  everyMs(): number {
    const sinceMs = performance.now() - this.#workedAtMs;
    const idleMs =
      this.#everyMs ?? (this.#listens && sinceMs > idleAfterMs ? listeningEveryMs : idleEveryMs);
    return Math.min(sinceMs < busyForMs ? busyEveryMs : idleMs, this.#dueInMs);
  }

  /** Within which time another round follows one that found work. */
  awakeMs(): number {
    return Math.min(
      idleEveryMs,
      Math.max(busyEveryMs, 2 * (this.#roundMs + restShare * this.#dearMs)),
    );
  }

  /** Time from one round to the next while there is work, without that of its jobs: more jobs would make it longer. */
  betweenRoundsMs(): number {
    return Math.max(leastEveryMs, (1 + restShare) * this.#dearMs);
  }
}
