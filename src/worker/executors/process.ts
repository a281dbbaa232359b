/**
 * The process of its own in which a suspect runs: one executor thread, and a main thread that only passes
 * messages on, so that it can end everything when the worker is gone.
 */
import type { ExecutorSetup, FromExecutor, ToExecutor } from './protocol.ts';
import { spawnThread } from './spawn.ts';

type FromWorker =
  | ToExecutor
  | { readonly kind: 'setup'; readonly setup: ExecutorSetup }
  | { readonly kind: 'alive' };

/** Not an exit: it would wait for a thread that is stuck in native code. */
const end = (): void => void process.kill(process.pid, 'SIGKILL');

function send(message: FromExecutor): void {
  if (process.connected) process.send?.(message);
}

function start(setup: ExecutorSetup): void {
  const thread = spawnThread(setup, {
    message: send,
    // The worker reads it before it sees the process end.
    died: (cause) => send({ kind: 'died', cause }),
  });
  let silence = setTimeout(end, setup.silenceMs);
  process.on('message', (message: FromWorker) => {
    clearTimeout(silence);
    silence = setTimeout(end, setup.silenceMs);
    // Nobody competes for it here.
    if (message.kind === 'run') thread.board?.offer(message.place);
    if (message.kind !== 'alive' && message.kind !== 'setup') thread.post(message);
  });
}

process.on('disconnect', end);
// A platform tells every process of a dyno to leave; this one leaves when its worker tells it to.
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => {});
process.once('message', (message: FromWorker) => {
  if (message.kind === 'setup') start(message.setup);
});
