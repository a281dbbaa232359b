/**
 * The loop that every service uses: calls `runOnce` repeatedly, without a pause while there is work, and backs off while
 * it fails. The same failure is logged once a minute. A round that never returns is reported by the stall watchdog.
 */
import { codeOf } from '../errors.ts';
import type { Logger } from '../log.ts';
import { LogThrottle } from './log-throttle.ts';
import type { StallWatchdog } from './stall-watchdog.ts';

export interface LoopOptions {
  readonly name: string;
  /** Pause after a round that found nothing to do. */
  readonly everyMs: number | (() => number);
  /** Rest after a round that did not fail, which took `roundMs` and did `work`: no wake ends it. Default: none. */
  readonly restMs?: (roundMs: number, work: number) => number;
  /** Runs one round and returns how much work it did; above 0, the next round follows after the rest. */
  readonly runOnce: () => Promise<number>;
  readonly log: Logger;
  /** Longest pause after failures. Default 10 s. */
  readonly maxBackoffMs?: number;
  /** Receives progress after every round that returns. */
  readonly watchdog?: Pick<StallWatchdog, 'expect'> | undefined;
  /** Called after a round that failed, before the pause. Its own failure is ignored. */
  readonly onFailure?: ((error: unknown) => Promise<void>) | undefined;
  /** How long `stop` waits for the current round. Default 10 s. */
  readonly stopWithinMs?: number;
}

export interface Loop {
  readonly name: string;
  /** End of the last round without an error. */
  readonly succeededAt: () => Date;
  /** Ends the current pause; during a round, the one after it. A pause after a failure stays. */
  wake(): void;
  /** Ends the loop after the current round, or after `stopWithinMs`. */
  stop(): Promise<void>;
}

const defaultMaxBackoffMs = 10_000;
/** After failures, where the pause changes: a short one would ask a store that is away again and again. */
const backoffMs = 300;
const defaultStopWithinMs = 10_000;

export function startLoop(options: LoopOptions): Loop {
  const { name, log, restMs = () => 0 } = options;
  const { maxBackoffMs = defaultMaxBackoffMs } = options;
  const stop = new AbortController();
  const everyMs = (): number =>
    typeof options.everyMs === 'number' ? options.everyMs : options.everyMs();
  const firstBackoffMs = typeof options.everyMs === 'number' ? options.everyMs : backoffMs;
  const task = options.watchdog?.expect(name);
  const throttle = new LogThrottle();
  let logged = false;
  let failures = 0;
  let succeededAt = new Date();
  let endPause: (() => void) | undefined;
  let isWoken = false;
  let isResting = false;

  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      endPause = () => {
        clearTimeout(timer);
        resolve();
      };
      if (stop.signal.aborted || (isWoken && !isResting && failures === 0)) endPause();
    });
  const rest = async (ms: number): Promise<void> => {
    if (ms <= 0) return;
    isResting = true;
    await pause(ms);
    isResting = false;
  };

  const run = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      let work = 0;
      isWoken = false;
      const begunAtMs = performance.now();
      try {
        work = await options.runOnce();
        if (logged) log.info({ loop: name, failures, since: succeededAt }, 'loop_recovered');
        logged = false;
        failures = 0;
        succeededAt = new Date();
      } catch (error) {
        failures += 1;
        if (throttle.isDue(codeOf(error))) {
          log.error({ loop: name, failures, error }, 'loop_failed');
          logged = true;
        }
        await options.onFailure?.(error).catch(() => {});
      }
      task?.progressed();
      if (failures > 0) {
        await pause(Math.min(maxBackoffMs, firstBackoffMs * 2 ** failures));
        continue;
      }
      const leastMs = restMs(performance.now() - begunAtMs, work);
      await rest(leastMs);
      if (work === 0) await pause(Math.max(0, everyMs() - leastMs));
    }
  };
  const running = run();

  return {
    name,
    succeededAt: () => succeededAt,
    wake: () => {
      isWoken = true;
      if (failures === 0 && !isResting) endPause?.();
    },
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
      task?.end();
    },
  };
}
