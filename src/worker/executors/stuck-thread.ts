/**
 * Terminates an executor. A thread in native code (a synchronous read, execSync) cannot be terminated: then the worker
 * gets `threadStuck`, returns its jobs, and cli/commands/start.ts ends the process by SIGKILL (Lifecycle.byForce).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutorHandle } from './spawn.ts';

/** False: the thread is stuck. */
export async function terminate(handle: ExecutorHandle, withinMs: number): Promise<boolean> {
  return Promise.race([handle.terminate().then(() => true), sleep(withinMs, false)]);
}
