/**
 * The most repeated complaint about every job system: a green process that takes nothing any more. Jobs that
 * have stood in a queue for a minute, while this worker has places for them and its queue store answers, are
 * not the queue's doing: the worker says so, and its process ends.
 */
import type { Database } from '../db/database.ts';
import { listTypesQueuedFor } from '../jobs/queued.ts';
import type { Logger } from '../log.ts';
import { startLoop } from '../process/loop.ts';
import type { Loop } from '../process/loop.ts';
import type { QueueBackend } from '../queues/backend.ts';
import type { StallWatchdog, WatchedTask } from '../process/stall-watchdog.ts';

export interface QueueWatchOptions {
  readonly database: Pick<Database, 'system'>;
  readonly backend: Pick<QueueBackend, 'ping'>;
  readonly jobTypes: readonly string[];
  /** Whether another job of the type could begin here now. */
  readonly hasFreeSlot: (jobType: string) => boolean;
  readonly watchdog: Pick<StallWatchdog, 'expect'>;
  readonly log: Logger;
  readonly timing?: QueueWatchTiming | undefined;
}

export interface QueueWatchTiming {
  readonly everyMs: number;
  /** What the queue lost comes back sooner. */
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
  const works = new Map<string, WatchedTask>(
    options.jobTypes.map((jobType) => [
      jobType,
      watchdog.expect(`taking ${jobType} from its queue`, timing.silentForMs),
    ]),
  );
  const loop = startLoop({
    name: 'queue watch',
    everyMs: timing.everyMs,
    log,
    runOnce: async () => {
      // A store that is away says so by itself, and excuses everybody.
      let waiting: ReadonlySet<string> = new Set();
      try {
        await backend.ping();
        waiting = new Set(await listTypesQueuedFor(database.system, timing.queuedForMs));
      } finally {
        for (const [jobType, work] of works) {
          if (!waiting.has(jobType) || !hasFreeSlot(jobType)) work.progressed();
        }
      }
      return 0;
    },
  });
  return {
    entryTaken: (jobType) => works.get(jobType)?.progressed(),
    stop: async () => {
      for (const work of works.values()) work.end();
      await loop.stop();
    },
  };
}
