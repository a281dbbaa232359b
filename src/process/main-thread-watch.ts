/**
 * A small thread that ends the process when the main thread is blocked: nothing that runs there could tell.
 * It counts its own ticks: while the process is stopped or the machine asleep, neither of them counts.
 */
import { url as debuggerUrl } from 'node:inspector';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Logger } from '../log.ts';

/**
 * The leases of a worker whose main thread is blocked pass after half of this; no orderly code of ours keeps
 * the thread for a second.
 */
const blockedAfterMs = 30_000;
const tickMs = 1_000;

export interface MainThreadWatchOptions {
  /** Shown in what it says on stderr. */
  readonly role: string;
  readonly log: Logger;
  readonly blockedAfterMs?: number;
  readonly tickMs?: number;
}

/** What the thread is given. `beats`: one Int32 that the main thread counts up. */
export interface WatchedThread {
  readonly role: string;
  readonly beats: SharedArrayBuffer;
  readonly blockedAfterMs: number;
  readonly tickMs: number;
}

/** For the rest of the process's life; keeps no process alive. Under a debugger there is no watch. */
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
