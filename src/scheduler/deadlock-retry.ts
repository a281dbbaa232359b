/**
 * Retries deadlocks and serialization failures after 1, 2 and 4 seconds, and counts them. After the last retry the
 * failure is logged, and the work is left to the next round.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';

const retryable = new Set(['40P01', '40001']);

export interface DeadlockRetryOptions {
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly pausesMs?: readonly number[] | undefined;
}

export const deadlockPausesMs: readonly number[] = [1_000, 2_000, 4_000];

/** Returns undefined if every try failed by a deadlock. Other errors are thrown. */
export async function withDeadlockRetry<T>(
  options: DeadlockRetryOptions,
  run: () => Promise<T>,
): Promise<T | undefined> {
  const { log, metrics, pausesMs = deadlockPausesMs } = options;
  for (let tries = 0; ; tries += 1) {
    try {
      return await run();
    } catch (error) {
      if (!retryable.has(codeOf(error))) throw error;
      metrics.deadlocks.inc();
      const pauseMs = pausesMs[tries];
      if (pauseMs === undefined) {
        log.error({ tries: tries + 1, error }, 'scheduler_deadlock_max_retries_exceeded');
        return undefined;
      }
      log.warn({ code: codeOf(error), pauseMs }, 'scheduler_deadlock_detected');
      metrics.deadlockBackoffSeconds.observe(pauseMs / 1000);
      await sleep(pauseMs);
    }
  }
}
