/**
 * Starts executors: in a thread of this process, or in a process of its own. Both are ended by force, and
 * both say how they died when nobody asked them to.
 */
import { fork } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { codeOf, messageOf } from '../../errors.ts';
import { SharedBoard } from './protocol.ts';
import type { DeathCause, ExecutorSetup, FromExecutor, ToExecutor } from './protocol.ts';

export interface ExecutorEvents {
  readonly message: (message: FromExecutor) => void;
  /** Its code runs no more, and nobody had asked for that. At most once. */
  readonly died: (cause: DeathCause) => void;
}

export interface ExecutorHandle {
  post(message: ToExecutor): void;
  /** undefined in a process of its own, where nobody competes for an attempt. */
  readonly board: SharedBoard | undefined;
  /** Resolves when its code runs no more. */
  readonly ended: Promise<void>;
  /** Ends it by force; resolves like `ended`. A thread in native code may never come to that. */
  terminate(): Promise<void>;
}

export type SpawnExecutor = (setup: ExecutorSetup, events: ExecutorEvents) => ExecutorHandle;

/** This file runs as TypeScript in development and as JavaScript in production. */
const sibling = (name: string): URL =>
  new URL(`./${name}${extname(import.meta.url)}`, import.meta.url);

export const spawnThread: SpawnExecutor = (setup, events) => {
  const board = new SharedBoard();
  let thread: Worker;
  try {
    thread = new Worker(sibling('main'), {
      workerData: { setup, memory: board.memory },
      resourceLimits: { maxOldGenerationSizeMb: setup.heapMb },
    });
  } catch (error) {
    return notStarted(`its thread did not start: ${messageOf(error)}`, events);
  }
  let asked = false;
  let cause: DeathCause = { how: 'ended', text: 'its thread ended by itself' };
  thread.on('message', events.message);
  thread.on('error', (error) => {
    cause =
      codeOf(error) === 'ERR_WORKER_OUT_OF_MEMORY'
        ? { how: 'heap', text: `its thread used up its heap of ${setup.heapMb} MB` }
        : { how: 'ended', text: `its thread ended: ${messageOf(error)}` };
  });
  const ended = new Promise<void>((resolve) => {
    thread.once('exit', () => {
      resolve();
      if (!asked) events.died(cause);
    });
  });
  return {
    board,
    ended,
    // A thread has no origin.
    // oxlint-disable-next-line unicorn/require-post-message-target-origin
    post: (message) => thread.postMessage(message),
    terminate: async () => {
      asked = true;
      void thread.terminate();
      await ended;
    },
  };
};

/** No thread is left, say. Its end is told like any other's, when whoever started it can hear. */
function notStarted(text: string, events: ExecutorEvents): ExecutorHandle {
  setImmediate(() => events.died({ how: 'ended', text }));
  return {
    board: undefined,
    ended: Promise.resolve(),
    post: () => {},
    terminate: () => Promise.resolve(),
  };
}

export const spawnProcess: SpawnExecutor = (setup, events) => {
  const child = fork(fileURLToPath(sibling('process')), {
    serialization: 'advanced',
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  let asked = false;
  let cause: DeathCause | undefined;
  const died = (found: DeathCause): void => {
    if (!asked) events.died(found);
    asked = true;
  };
  child.on('message', (message: FromExecutor) => {
    if (message.kind === 'died') {
      cause = message.cause;
      child.kill('SIGKILL');
    } else events.message(message);
  });
  // A message that cannot be sent to a process that is ending; its exit says the rest.
  child.on('error', () => {});
  const ended = new Promise<void>((resolve) => {
    child.once('exit', (code, signal) => {
      resolve();
      died(
        cause ?? { how: 'process', text: `its process ended by ${signal ?? `exit code ${code}`}` },
      );
    });
    child.once('error', (error) => {
      // Not started at all (no memory, no file): there will be no exit.
      if (child.pid !== undefined) return;
      resolve();
      died({ how: 'ended', text: `its process did not start: ${messageOf(error)}` });
    });
  });
  const post = (message: object): void => {
    if (child.connected) child.send(message);
  };
  post({ kind: 'setup', setup });
  const alive = setInterval(() => post({ kind: 'alive' }), setup.silenceMs / 5);
  void ended.then(() => clearInterval(alive));
  return {
    board: undefined,
    ended,
    post,
    terminate: async () => {
      asked = true;
      child.kill('SIGKILL');
      await ended;
    },
  };
};
