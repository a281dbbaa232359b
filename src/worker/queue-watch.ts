/**
 * Detects a worker that looks healthy and takes no entries. When jobs have been queued for a minute although this
 * worker has free slots for them and its queue store answers, the watchdog reports a stall, and the process ends. A
 * queue that is stopped in the store is logged with its fix instead: a new process could not take its entries either.
 */
import type { Database } from '../db/database.ts';
import { listTypesQueuedFor } from '../jobs/queued.ts';
import type { Logger } from '../log.ts';
import { startLoop } from '../process/loop.ts';
import type { Loop } from '../process/loop.ts';
import { LogThrottle } from '../process/log-throttle.ts';
import type { QueueBackend } from '../queues/backend.ts';
import { readQueueStops } from '../queues/stops.ts';
import type { Transport } from '../queues/transport.ts';
import type { StallWatchdog, WatchedTask } from '../process/stall-watchdog.ts';

export interface QueueWatchOptions {
  readonly database: Pick<Database, 'system'>;
  readonly backend: Pick<QueueBackend, 'ping' | 'damagedKeys'>;
  readonly transport: Pick<Transport, 'queue'>;
  readonly jobTypes: readonly string[];
  /** Whether another job of the type could begin here now. */
  readonly hasFreeSlot: (jobType: string) => boolean;
  readonly watchdog: Pick<StallWatchdog, 'expect'>;
  readonly log: Logger;
  readonly timing?: QueueWatchTiming | undefined;
}

export interface QueueWatchTiming {
  readonly everyMs: number;
  /** Longer than the reconciler takes to return a job whose entry was lost. */
  readonly queuedForMs: number;
  readonly silentForMs: number;
}

const defaultTiming: QueueWatchTiming = {
  everyMs: 10_000,
  queuedForMs: 60_000,
  silentForMs: 120_000,
};

export interface QueueWatch extends Pick<Loop, 'stop'> {
  /** An entry of the type was taken. */
  entryTaken(jobType: string): void;
}

export function watchQueues(options: QueueWatchOptions): QueueWatch {
  const { database, backend, hasFreeSlot, watchdog, log, timing = defaultTiming } = options;
  const tasks = new Map<string, WatchedTask>(
    options.jobTypes.map((jobType) => [
      jobType,
      watchdog.expect(`taking ${jobType} from its queue`, timing.silentForMs),
    ]),
  );
  const throttle = new LogThrottle();
  const stoppedQueues = async (waiting: ReadonlySet<string>): Promise<ReadonlySet<string>> => {
    const stops = await readQueueStops(
      options,
      [...waiting].filter((type) => tasks.has(type)),
    );
    const standing = stops.filter(({ stands }) => stands);
    for (const { queue, cause, seen, fix } of standing) {
      if (throttle.isDue(`${queue}: ${cause}`)) log.error({ queue, seen, fix }, 'queue_stopped');
    }
    return new Set(standing.map(({ queue }) => queue));
  };
  const loop = startLoop({
    name: 'queue watch',
    everyMs: timing.everyMs,
    log,
    runOnce: async () => {
      // While a store is unavailable, no type is reported as stalled.
      let waiting: ReadonlySet<string> = new Set();
      let stopped: ReadonlySet<string> = new Set();
      try {
        await backend.ping();
        waiting = new Set(await listTypesQueuedFor(database.system, timing.queuedForMs));
        stopped = await stoppedQueues(waiting);
      } finally {
        for (const [jobType, task] of tasks) {
          const stalled = waiting.has(jobType) && hasFreeSlot(jobType) && !stopped.has(jobType);
          if (!stalled) task.progressed();
        }
      }
      return 0;
    },
  });
  return {
    entryTaken: (jobType) => tasks.get(jobType)?.progressed(),
    stop: async () => {
      for (const task of tasks.values()) task.end();
      await loop.stop();
    },
  };
}
