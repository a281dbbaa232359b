/**
 * The shared loop of every service: calls `runOnce` again and again, at once while there is work, and backs
 * off while it fails. It knows when it last succeeded, so that a silent stop can be seen.
 */
import type { Logger } from './log.ts';

export interface LoopOptions {
  readonly name: string;
  /** Pause between two runs that found nothing to do. */
  readonly everyMs: number;
  /** Does one round. Returns how much it did; above 0, the next round follows at once. */
  readonly runOnce: (now: Date) => Promise<number>;
  readonly log: Logger;
}

export interface Loop {
  readonly name: string;
  /** When a round last ended without an error. */
  readonly succeededAt: () => Date;
  /** Ends the current pause. */
  wake(): void;
  /** Waits for the round under way, then ends. */
  stop(): Promise<void>;
}

const maxBackoffMs = 10_000;

export function startLoop(options: LoopOptions): Loop {
  const stop = new AbortController();
  let failures = 0;
  let succeededAt = new Date();
  let endPause: (() => void) | undefined;

  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      endPause = () => {
        clearTimeout(timer);
        resolve();
      };
      if (stop.signal.aborted) endPause();
    });

  const run = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      let did = 0;
      try {
        did = await options.runOnce(new Date());
        if (failures > 0) options.log.info({ loop: options.name }, 'loop_recovered');
        failures = 0;
        succeededAt = new Date();
      } catch (error) {
        failures += 1;
        options.log.error({ loop: options.name, failures, error }, 'loop_failed');
      }
      if (failures > 0) await pause(Math.min(maxBackoffMs, options.everyMs * 2 ** failures));
      else if (did === 0) await pause(options.everyMs);
    }
  };
  const running = run();

  return {
    name: options.name,
    succeededAt: () => succeededAt,
    wake: () => endPause?.(),
    stop: async () => {
      stop.abort();
      endPause?.();
      await running;
    },
  };
}
