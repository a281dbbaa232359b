/**
 * Ends the process of a command, with its message and exit code 78, when the module that it imports blocks the main
 * thread, as a loop at its top level does: no code of the main thread could notice.
 */
import { url as debuggerUrl } from 'node:inspector';
import { extname } from 'node:path';
import { isMainThread, Worker } from 'node:worker_threads';
import { exitCodes } from '../errors.ts';

/** Data of the thread. */
export interface WatchedImport {
  readonly message: string;
  readonly exitCode: number;
  readonly withinMs: number;
}

/**
 * Resolves when the watch has begun; `end` ends it. Does nothing in other threads, which their supervisor watches, and
 * under a debugger.
 */
export async function watchImport(
  message: string,
  withinMs: number,
): Promise<{ readonly end: () => void }> {
  if (!isMainThread || debuggerUrl() !== undefined) return { end: () => {} };
  const workerData: WatchedImport = { message, withinMs, exitCode: exitCodes.configuration };
  const thread = new Worker(
    new URL(`./blocked-import-thread${extname(import.meta.url)}`, import.meta.url),
    { workerData, resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 } },
  );
  // Without the thread the import only has no limit.
  await new Promise<void>((resolve) => {
    thread.once('online', resolve);
    thread.once('error', () => resolve());
  });
  thread.unref();
  return { end: () => void thread.terminate() };
}
