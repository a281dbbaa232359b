/**
 * When the dispatch looks again. After each round it rests for longer than the round's jobs explain: where rounds become
 * dear, because dead rows cannot be removed or others take the processor, they become fewer and each serves more jobs.
 */
import { listeningEveryMs } from '../jobs/dispatch.ts';
import type { Work } from '../jobs/dispatch.ts';

/** After each round, of its time beyond that of its jobs, which is less than this on a slow machine too. */
const restShare = 2;
const jobMs = 0.3;
/** A round may have waited for a store that was away. */
const mostRestMs = 1_000;
/** What a dear round told is kept by those that claim nothing, less each time. */
const kept = 0.9;
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
  #found = false;
  #movesNothing = false;

  constructor({ listens = false, everyMs }: DispatchPaceOptions = {}) {
    this.#listens = listens;
    this.#everyMs = everyMs;
  }

  /** What the round found. */
  looked({ jobTypes, dueInMs }: Work): void {
    this.#found = jobTypes.length > 0;
    this.#dueInMs = Math.ceil(dueInMs);
  }

  /** The rest after a round. */
  restMs(roundMs: number, work: number): number {
    const dearMs = Math.max(0, roundMs - jobMs * work);
    this.#roundMs = roundMs;
    this.#dearMs = work > 0 ? dearMs : Math.max(dearMs, kept * this.#dearMs);
    this.#movesNothing = this.#found && work === 0;
    if (work > 0) this.#workedAtMs = performance.now();
    const leastMs = work > 0 ? leastEveryMs - roundMs : 0;
    return Math.min(mostRestMs, Math.max(restShare * dearMs, leastMs));
  }

  /** The pause after a round without work. */
  everyMs(): number {
    const isIdle = performance.now() - this.#workedAtMs > idleAfterMs;
    const idleMs = this.#everyMs ?? (this.#listens && isIdle ? listeningEveryMs : idleEveryMs);
    return Math.min(this.#isBusy ? busyEveryMs : idleMs, this.#dueInMs);
  }

  get #isBusy(): boolean {
    return performance.now() - this.#workedAtMs < busyForMs;
  }

  /** Within which time another round follows one that finds work; 0 where it finds only what nobody takes. */
  awakeMs(): number {
    if (this.#movesNothing && !this.#isBusy) return 0;
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
