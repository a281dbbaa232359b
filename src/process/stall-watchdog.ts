/**
 * The end of a process that stopped working without an error. A role names what it has to do again and again
 * and tells each time that it did; the watch counts its own ticks, so that a process which was stopped itself
 * (SIGSTOP, a machine asleep) gets its time to go on. What fails aloud is no silent stop.
 */
import { exitCodes } from '../errors.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { Logger } from '../log.ts';

/**
 * A round of a loop is a few short statements. One that takes longer than this waits for an answer that was
 * lost: TCP itself gives up such a connection only after a quarter of an hour.
 */
const roundWithinMs = 120_000;

const tickMs = 1_000;

export interface WatchedTask {
  /** It was done; or failed, and that is logged; or there was nothing to do. */
  progressed(): void;
  /** It is not expected any more. */
  end(): void;
}

export interface StallWatchdogOptions {
  readonly log: Logger;
  /** Called once, with the name of what is not done any more. */
  readonly onStall: (what: string) => void;
  readonly tickMs?: number;
}

interface Expected {
  readonly name: string;
  readonly limitMs: number;
  silentMs: number;
  doneAt: Date;
}

export class StallWatchdog {
  readonly #options: StallWatchdogOptions;
  readonly #tickMs: number;
  readonly #expected = new Set<Expected>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: StallWatchdogOptions) {
    this.#options = options;
    this.#tickMs = options.tickMs ?? tickMs;
    this.#timer = setInterval(() => this.#tick(), this.#tickMs).unref();
  }

  /** From now on this has to be done at least every `limitMs`. */
  expect(name: string, limitMs = roundWithinMs): WatchedTask {
    const expected: Expected = { name, limitMs, silentMs: 0, doneAt: new Date() };
    this.#expected.add(expected);
    return {
      progressed: () => {
        expected.silentMs = 0;
        expected.doneAt = new Date();
      },
      end: () => void this.#expected.delete(expected),
    };
  }

  /** Expects nothing any more. */
  stop(): void {
    clearInterval(this.#timer);
    this.#expected.clear();
  }

  #tick(): void {
    for (const expected of this.#expected) {
      expected.silentMs += this.#tickMs;
      if (expected.silentMs < expected.limitMs) continue;
      const { name, silentMs, doneAt } = expected;
      this.stop();
      this.#options.log.fatal({ what: name, since: doneAt, silentMs }, 'process_stalled');
      this.#options.onStall(name);
      return;
    }
  }
}

/** For one role: on a silent stop the process closes in order and exits 1, and a platform starts it again. */
export function watchForStalls(
  lifecycle: Lifecycle,
  log: Logger,
  options: Pick<StallWatchdogOptions, 'tickMs'> = {},
): StallWatchdog {
  const silence = new StallWatchdog({
    ...options,
    log,
    onStall: (what) => lifecycle.requestStop(`stalled: ${what}`, { exitCode: exitCodes.failed }),
  });
  // Who leaves may take its time.
  lifecycle.stopSignal.addEventListener('abort', () => silence.stop(), { once: true });
  return silence;
}
