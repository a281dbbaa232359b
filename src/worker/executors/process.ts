/**
 * The process in which one suspect runs: an executor thread, and a main thread that only forwards messages, so that it
 * can end the process when its worker is gone.
 */
import { messageOf } from '../../errors.ts';
import type { ExecutorSetup, FromExecutor, ToExecutor } from './protocol.ts';
import { packError } from './packed-errors.ts';
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

/** Answers in place of a message that cannot be cloned, so that only its own attempt or call fails. */
function deliver(thread: ExecutorHandle, message: ToExecutor): void {
  try {
    thread.post(message);
  } catch (error) {
    if (message.kind === 'run') {
      send({ kind: 'not_delivered', token: message.attempt.token, reason: messageOf(error) });
    } else if (message.kind === 'llm_reply') {
      thread.post({ kind: 'llm_error', callId: message.callId, error: packError(error) });
    } else throw error;
  }
}

function start(setup: ExecutorSetup): void {
  const thread: ExecutorHandle = spawnThread(setup, {
    message: (message) => {
      try {
        send(message);
      } catch (error) {
        if (message.kind !== 'llm_call') throw error;
        thread.post({ kind: 'llm_error', callId: message.callId, error: packError(error) });
      }
    },
    // The worker receives this before the process ends.
    died: (cause) => send({ kind: 'died', cause }),
  });
  let silenceTimer = setTimeout(end, setup.silenceMs);
  process.on('message', (message: FromWorker) => {
    clearTimeout(silenceTimer);
    silenceTimer = setTimeout(end, setup.silenceMs);
    // No other executor can claim it.
    if (message.kind === 'run') thread.claimTable?.offer(message.slotIndex);
    if (message.kind !== 'alive' && message.kind !== 'setup') deliver(thread, message);
  });
}

process.on('disconnect', end);
// A platform signals every process of a container; this one ends when its worker ends it.
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => {});
process.once('message', (message: FromWorker) => {
  if (message.kind === 'setup') start(message.setup);
});
