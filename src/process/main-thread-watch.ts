/**
 * Starts a small thread that kills the process when its main thread is blocked, which no code of the main thread could
 * notice. Time is counted in ticks of that thread: while the process is suspended, no tick is counted.
 */
import { url as debuggerUrl } from 'node:inspector';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Logger } from '../log.ts';

/** Twice the default lease: by then the worker's jobs have been taken over. Own code blocks for less than a second. */
const blockedAfterMs = 30_000;
const tickMs = 1_000;

export interface MainThreadWatchOptions {
  /** Written into the log line on stderr. */
  readonly role: string;
  readonly log: Logger;
  readonly blockedAfterMs?: number;
  readonly tickMs?: number;
}

/** Data of the thread. `beats`: one Int32 that the main thread increments. */
export interface WatchedThread {
  readonly role: string;
  readonly beats: SharedArrayBuffer;
  readonly blockedAfterMs: number;
  readonly tickMs: number;
}

/** Runs until the process ends, and does not keep it alive. Does nothing under a debugger. */
export function watchMainThread(options: MainThreadWatchOptions): void {
  if (debuggerUrl() !== undefined) return;
  const everyMs = options.tickMs ?? tickMs;
  const beats = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  const counter = new Int32Array(beats);
  const workerData: WatchedThread = {
    role: options.role,
    beats,
    blockedAfterMs: options.blockedAfterMs ?? blockedAfterMs,
    tickMs: everyMs,
  };
  const thread = new Worker(
    new URL(`./main-thread-watcher${extname(import.meta.url)}`, import.meta.url),
    { workerData, resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 } },
  );
  thread.on('error', (error) => options.log.error({ error }, 'main_thread_not_watched'));
  thread.unref();
  setInterval(() => Atomics.add(counter, 0, 1), everyMs / 2).unref();
}
