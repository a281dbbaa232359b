/**
 * What a process takes from its queues, watched: while entries wait and there is room for them, some are
 * taken. A worker that lost its connection without noticing would else look healthy and do nothing.
 */
import type { Logger } from '../log.ts';
import { startLoop } from '../loop.ts';
import type { Loop } from '../loop.ts';
import type { SilentStops, Work } from '../silent-stop.ts';

/**
 * An idle BullMQ worker asks its queue every 5 s on its own account, and one that lost its store comes back
 * within 20 s.
 */
const takesWithinMs = 60_000;
const askEveryMs = 10_000;

/** What is asked of a BullMQ queue. */
export interface WatchedQueue {
  readonly name: string;
  getWaitingCount(): Promise<number>;
  isPaused(): Promise<boolean>;
}

export interface IntakeLimits {
  /** Entries of this queue that are worked on at once. */
  readonly concurrency: number;
  /** Whether the process has room for one more, and wants it. */
  readonly mayTake: () => boolean;
}

export interface Intake {
  /** Around the work on each entry that was taken. */
  through<T>(work: () => Promise<T>): Promise<T>;
}

export interface IntakeWatchOptions {
  readonly silence: Pick<SilentStops, 'expect'>;
  readonly log: Logger;
  readonly askEveryMs?: number;
  readonly takesWithinMs?: number;
}

interface Watched {
  readonly queue: WatchedQueue;
  readonly limits: IntakeLimits;
  readonly work: Work;
  running: number;
  taken: number;
  takenBefore: number;
}

export class IntakeWatch {
  readonly #options: IntakeWatchOptions;
  readonly #watched: Watched[] = [];
  readonly #loop: Loop;

  constructor(options: IntakeWatchOptions) {
    this.#options = options;
    this.#loop = startLoop({
      name: 'intake',
      everyMs: options.askEveryMs ?? askEveryMs,
      log: options.log,
      runOnce: () => this.#ask(),
    });
  }

  add(queue: WatchedQueue, limits: IntakeLimits): Intake {
    const { silence } = this.#options;
    const work = silence.expect(
      `taking from ${queue.name}`,
      this.#options.takesWithinMs ?? takesWithinMs,
    );
    const watched: Watched = { queue, limits, work, running: 0, taken: 0, takenBefore: 0 };
    this.#watched.push(watched);
    return {
      through: async (fn) => {
        watched.taken += 1;
        watched.running += 1;
        try {
          return await fn();
        } finally {
          watched.running -= 1;
        }
      },
    };
  }

  /** What was added is not expected any more. */
  async stop(): Promise<void> {
    for (const { work } of this.#watched) work.end();
    await this.#loop.stop();
  }

  async #ask(): Promise<number> {
    try {
      for (const watched of this.#watched) {
        if (!(await takesNothing(watched))) watched.work.did();
        watched.takenBefore = watched.taken;
      }
    } catch (error) {
      // A store that is away says so by itself; nothing can be taken from it.
      for (const { work } of this.#watched) work.did();
      throw error;
    }
    return 0;
  }
}

async function takesNothing(watched: Watched): Promise<boolean> {
  const { queue, limits, running, taken, takenBefore } = watched;
  if (taken > takenBefore || running >= limits.concurrency || !limits.mayTake()) return false;
  if ((await queue.getWaitingCount()) === 0) return false;
  return !(await queue.isPaused());
}
