/**
 * The process of its own in which a suspect runs: one executor thread, and a main thread that only passes
 * messages on, so that it can end everything when the worker is gone.
 */
import type { ExecutorSetup, FromExecutor, ToExecutor } from './executor-protocol.ts';
import { spawnThread } from './executor-spawn.ts';

type First = { readonly kind: 'setup'; readonly setup: ExecutorSetup };

function send(message: FromExecutor): void {
  if (process.connected) process.send?.(message);
}

function start(setup: ExecutorSetup): void {
  const thread = spawnThread(setup, {
    message: send,
    // The worker reads it before it sees the process end.
    died: (cause) => send({ kind: 'died', cause }),
  });
  process.on('message', (message: ToExecutor) => thread.post(message));
}

// Not an exit: it would wait for a thread that is stuck in native code.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
// A platform tells every process of a dyno to leave; this one leaves when its worker tells it to.
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => {});
process.once('message', ({ setup }: First) => start(setup));
