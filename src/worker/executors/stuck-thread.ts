/**
 * Ends an executor by force. A thread inside native code (a synchronous read, execSync) cannot be terminated: it is
 * stuck, and then its worker has to return its jobs and end its own process by SIGKILL.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutorHandle } from './spawn.ts';

/** False: the thread is stuck. */
export async function terminate(handle: ExecutorHandle, withinMs: number): Promise<boolean> {
  return Promise.race([handle.terminate().then(() => true), sleep(withinMs, false)]);
}
