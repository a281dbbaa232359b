/**
 * The runner of start-up steps. A step whose store is away is tried again, with growing pauses; an attempt that hangs
 * is given up; a stop signal ends the start at once, during an attempt too. A login that the store still refuses after
 * some seconds ends the start with exit code 78.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, PurserError } from '../../errors.ts';
import { LogThrottle } from '../../process/log-throttle.ts';
import type { Logger } from '../../log.ts';
import { faultKind, loginRefused } from './faults.ts';
import { stepOf } from './steps.ts';
import type { StepName, Store } from './steps.ts';

/** Runs a step of the registry. `attempt` releases what it opened when its signal aborts. */
export type RunStep = <T>(
  step: StepName,
  attempt: (signal: AbortSignal) => T | Promise<T>,
) => Promise<T>;

/** For commands, which report a fault at once: one attempt. */
export const runOnce: RunStep = async (_, attempt) => attempt(new AbortController().signal);

/** The start ended because of a stop signal. */
export class StartStopped extends PurserError {
  override readonly name = 'StartStopped';

  constructor(step: StepName) {
    super('start_stopped', `the start was stopped at its step ${step}`);
  }
}

export interface StartupOptions {
  readonly log: Logger;
  readonly stopSignal: AbortSignal;
  /** The variable with the address and login of each store, for messages. */
  readonly variables: Readonly<Record<Store, string>>;
  /** Called when a step first waits for a store, and once a minute after. */
  readonly onWait?: ((variable: string, error: unknown) => void) | undefined;
  /** Called when a step begins. */
  readonly onStep?: ((step: StepName) => void) | undefined;
}

const firstPauseMs = 500;
const maxPauseMs = 10_000;
const slowAfterMs = 5_000;
/** A server that is slow, and not away, gets longer with every attempt. */
const firstAttemptMs = 15_000;
const maxAttemptMs = 60_000;
/**
 * A credential that is replaced can take a moment to be known to all parts of the server. After that, only another
 * environment helps, and that comes with another process.
 */
const loginWithinMs = 4_000;

/** A step that waits for no store gets this long after a stop signal, so that what it opened is closed in order. */
const endsByItselfMs = 2_500;

type Attempt<T> = (signal: AbortSignal) => T | Promise<T>;

export function startupRunner(options: StartupOptions): RunStep {
  const { log, stopSignal } = options;
  const variableOf = (step: StepName): string => {
    const [store] = stepOf(step).stores;
    return store === undefined ? 'the environment' : options.variables[store];
  };

  /** One attempt, within `limitMs`. What it still does after that is without effect. */
  const attemptOnce = async <T>(step: StepName, limitMs: number, attempt: Attempt<T>) => {
    const over = new AbortController();
    const stopped = new Promise<never>((_, reject) => {
      over.signal.addEventListener('abort', () => reject(over.signal.reason), { once: true });
    });
    stopped.catch(() => {});
    let leaving: NodeJS.Timeout | undefined;
    const abort = (): void => {
      const afterMs = stepOf(step).stores.length === 0 ? endsByItselfMs : 0;
      leaving = setTimeout(() => over.abort(new StartStopped(step)), afterMs);
    };
    stopSignal.addEventListener('abort', abort, { once: true });
    const slow = setTimeout(() => {
      log.warn({ step, waitsFor: stepOf(step).stores }, 'startup_step_slow');
    }, slowAfterMs);
    const limit = Number.isFinite(limitMs)
      ? setTimeout(() => over.abort(noAnswer(step, variableOf(step), limitMs)), limitMs)
      : undefined;
    try {
      const running = Promise.resolve(attempt(over.signal));
      running.catch(() => {});
      return await Promise.race([running, stopped]);
    } finally {
      clearTimeout(slow);
      clearTimeout(limit);
      clearTimeout(leaving);
      stopSignal.removeEventListener('abort', abort);
    }
  };

  const pause = async (step: StepName, ms: number): Promise<void> => {
    await sleep(ms, undefined, { signal: stopSignal }).catch(() => {
      throw new StartStopped(step);
    });
  };

  return async <T>(step: StepName, attempt: Attempt<T>): Promise<T> => {
    const { stores } = stepOf(step);
    if (stopSignal.aborted) throw new StartStopped(step);
    options.onStep?.(step);
    log.info({ step, waitsFor: stores }, 'startup_step');
    const throttle = new LogThrottle();
    const beganMs = performance.now();
    let limitMs = stores.length === 0 ? Infinity : firstAttemptMs;
    for (let failures = 1, pauseMs = firstPauseMs; ; failures += 1) {
      try {
        const result = await attemptOnce(step, limitMs, attempt);
        if (failures > 1) log.info({ step, failures: failures - 1 }, 'startup_step_recovered');
        return result;
      } catch (error) {
        if (error instanceof StartStopped) throw error;
        const kind = faultKind(error);
        if (stores.length === 0 || kind === 'final') throw error;
        const lastedMs = performance.now() - beganMs;
        if (kind === 'login' && lastedMs > loginWithinMs)
          throw loginRefused(variableOf(step), error);
        if (throttle.isDue(codeOf(error))) {
          log.warn({ step, variable: variableOf(step), failures, error }, 'startup_step_waits');
          options.onWait?.(variableOf(step), error);
        }
      }
      await pause(step, pauseMs * (0.5 + Math.random() / 2));
      pauseMs = Math.min(maxPauseMs, pauseMs * 2);
      limitMs = Math.min(maxAttemptMs, limitMs * 2);
    }
  };
}

function noAnswer(step: StepName, variable: string, limitMs: number): PurserError {
  return new PurserError(
    'startup_timeout',
    `${step}: no answer within ${limitMs / 1000} s; check the address in ${variable} and its server`,
    { status: 503 },
  );
}
