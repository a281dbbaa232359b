/**
 * The process in which one suspect runs: an executor thread, and a main thread that only forwards messages, so that it
 * can end the process when its worker is gone.
 */
import type { ExecutorSetup, FromExecutor, ToExecutor } from './protocol.ts';
import { spawnThread } from './spawn.ts';
import type { ExecutorHandle } from './spawn.ts';

type FromWorker =
  | ToExecutor
  | { readonly kind: 'setup'; readonly setup: ExecutorSetup }
  | { readonly kind: 'alive' };

/** process.exit would wait for a thread that is stuck in native code. */
const end = (): void => void process.kill(process.pid, 'SIGKILL');

function send(message: FromExecutor): void {
  if (process.connected) process.send?.(message);
}

function start(setup: ExecutorSetup): void {
  const thread: ExecutorHandle = spawnThread(setup, {
    message: send,
    // The worker receives this before the process ends.
    died: (cause) => send({ kind: 'died', cause }),
  });
  let silenceTimer = setTimeout(end, setup.silenceMs);
  process.on('message', (message: FromWorker) => {
    clearTimeout(silenceTimer);
    silenceTimer = setTimeout(end, setup.silenceMs);
    // No other executor can claim it.
    if (message.kind === 'run') thread.claimTable?.offer(message.slotIndex);
    if (message.kind !== 'alive' && message.kind !== 'setup') thread.post(message);
  });
}

process.on('disconnect', end);
// A platform signals every process of a container; this one ends when its worker ends it.
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => {});
process.once('message', (message: FromWorker) => {
  if (message.kind === 'setup') start(message.setup);
});
