/**
 * Stops a process that makes no progress and reports no error. A role registers each recurring task and reports its
 * progress. Time is counted in ticks of the watchdog's own timer, so that a process that was suspended itself (SIGSTOP,
 * machine asleep) is not taken for a stalled one. A task that fails and logs it has made progress.
 */
import { exitCodes } from '../errors.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { Logger } from '../log.ts';

/**
 * A round of a loop takes a few short statements. One that takes longer than this is waiting for a lost answer; TCP
 * closes such a connection only after about 15 minutes.
 */
const defaultLimitMs = 120_000;

const tickMs = 1_000;

export interface WatchedTask {
  /** The task was done, failed with a log line, or had nothing to do. */
  progressed(): void;
  /** Removes the task from the watchdog. */
  end(): void;
}

export interface StallWatchdogOptions {
  readonly log: Logger;
  /** Called once, with the name of the stalled task. */
  readonly onStall: (what: string) => void;
  readonly tickMs?: number;
}

interface ExpectedTask {
  readonly name: string;
  readonly limitMs: number;
  silentMs: number;
  progressedAt: Date;
}

export class StallWatchdog {
  readonly #options: StallWatchdogOptions;
  readonly #tickMs: number;
  readonly #expected = new Set<ExpectedTask>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: StallWatchdogOptions) {
    this.#options = options;
    this.#tickMs = options.tickMs ?? tickMs;
    this.#timer = setInterval(() => this.#tick(), this.#tickMs).unref();
  }

  /** Adds a task that has to make progress at least every `limitMs`. */
  expect(name: string, limitMs = defaultLimitMs): WatchedTask {
    const expected: ExpectedTask = { name, limitMs, silentMs: 0, progressedAt: new Date() };
    this.#expected.add(expected);
    return {
      progressed: () => {
        expected.silentMs = 0;
        expected.progressedAt = new Date();
      },
      end: () => void this.#expected.delete(expected),
    };
  }

  /** Removes all tasks and ends the timer. */
  stop(): void {
    clearInterval(this.#timer);
    this.#expected.clear();
  }

  #tick(): void {
    for (const expected of this.#expected) {
      expected.silentMs += this.#tickMs;
      if (expected.silentMs < expected.limitMs) continue;
      const { name, silentMs, progressedAt } = expected;
      this.stop();
      this.#options.log.fatal({ task: name, since: progressedAt, silentMs }, 'process_stalled');
      this.#options.onStall(name);
      return;
    }
  }
}

/** A watchdog for one role: if a task stalls, the process closes in order and exits 1, and the platform restarts it. */
export function watchForStalls(
  lifecycle: Lifecycle,
  log: Logger,
  options: Pick<StallWatchdogOptions, 'tickMs'> = {},
): StallWatchdog {
  const watchdog = new StallWatchdog({
    ...options,
    log,
    onStall: (what) => lifecycle.requestStop(`stalled: ${what}`, { exitCode: exitCodes.failed }),
  });
  // A process that is stopping has its own time limit (Lifecycle).
  lifecycle.stopSignal.addEventListener('abort', () => watchdog.stop(), { once: true });
  return watchdog;
}
