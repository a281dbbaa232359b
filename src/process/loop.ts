/**
 * The shared loop of every service: calls `runOnce` again and again, at once while there is work, and backs
 * off while it fails. A failure that stays the same is said once a minute, a round that never returns is a
 * silent stop.
 */
import { codeOf } from '../errors.ts';
import type { Logger } from '../log.ts';
import { LogThrottle } from './log-throttle.ts';
import type { StallWatchdog } from './stall-watchdog.ts';

export interface LoopOptions {
  readonly name: string;
  /** Pause between two runs that found nothing to do. */
  readonly everyMs: number;
  /** The same while a round of the last second did something: what comes next may be there already. */
  readonly busyEveryMs?: number;
  /** Does one round. Returns how much it did; above 0, the next round follows at once. */
  readonly runOnce: (now: Date) => Promise<number>;
  readonly log: Logger;
  /** Longest pause while it fails. Default 10 s. */
  readonly maxBackoffMs?: number;
  /** Hears of every round that returned. */
  readonly watchdog?: Pick<StallWatchdog, 'expect'> | undefined;
  /** How long a stop waits for the round under way. Default 10 s. */
  readonly stopWithinMs?: number;
}

export interface Loop {
  readonly name: string;
  /** When a round last ended without an error. */
  readonly succeededAt: () => Date;
  /** Ends the current pause. */
  wake(): void;
  /** Waits for the round under way, not for ever, then ends. */
  stop(): Promise<void>;
}

const defaultMaxBackoffMs = 10_000;
const defaultStopWithinMs = 10_000;
const busyForMs = 1_000;

export function startLoop(options: LoopOptions): Loop {
  const { name, log, everyMs, busyEveryMs = everyMs } = options;
  const { maxBackoffMs = defaultMaxBackoffMs } = options;
  const stop = new AbortController();
  const work = options.watchdog?.expect(name);
  const rarely = new LogThrottle();
  let said = false;
  let failures = 0;
  let succeededAt = new Date();
  let didAtMs = -Infinity;
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
        if (said) log.info({ loop: name, failures, since: succeededAt }, 'loop_recovered');
        said = false;
        failures = 0;
        succeededAt = new Date();
      } catch (error) {
        failures += 1;
        if (rarely.isDue(codeOf(error))) {
          log.error({ loop: name, failures, error }, 'loop_failed');
          said = true;
        }
      }
      work?.progressed();
      if (failures > 0) await pause(Math.min(maxBackoffMs, everyMs * 2 ** failures));
      else if (did > 0) didAtMs = performance.now();
      else await pause(performance.now() - didAtMs < busyForMs ? busyEveryMs : everyMs);
    }
  };
  const running = run();

  return {
    name,
    succeededAt: () => succeededAt,
    wake: () => endPause?.(),
    stop: async () => {
      stop.abort();
      endPause?.();
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<'late'>((resolve) => {
        timer = setTimeout(resolve, options.stopWithinMs ?? defaultStopWithinMs, 'late');
      });
      if ((await Promise.race([running, late])) === 'late')
        log.warn({ loop: name }, 'round_abandoned');
      clearTimeout(timer);
      work?.end();
    },
  };
}
