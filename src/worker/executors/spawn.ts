/**
 * Starts executors in a thread of this process or in a process of their own. Both can be terminated, and both report
 * how they ended when they were not terminated.
 */
import { fork } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { codeOf, messageOf } from '../../errors.ts';
import { ClaimTable } from './claim-table.ts';
import { isFromExecutor } from './message-shape.ts';
import { Outbox } from './outbox.ts';
import type { DeathCause, ExecutorSetup, FromExecutor, ToExecutor } from './protocol.ts';

export interface ExecutorEvents {
  readonly message: (message: FromExecutor) => void;
  /** Its code ended without `terminate`. At most once. */
  readonly died: (cause: DeathCause) => void;
}

export interface ExecutorHandle {
  /**
   * Attempts that are posted in one turn of the event loop travel together. Throws when another message cannot be
   * cloned: its values are nested too deep, or are not data.
   */
  post(message: ToExecutor): void;
  /** undefined for a process: its attempts are given to no other executor. */
  readonly claimTable: ClaimTable | undefined;
  /** Resolves when its code has ended. */
  readonly ended: Promise<void>;
  /** Resolves like `ended`: for a thread inside native code perhaps never. */
  terminate(): Promise<void>;
}

export type SpawnExecutor = (setup: ExecutorSetup, events: ExecutorEvents) => ExecutorHandle;

/** This file runs as TypeScript in development and as JavaScript in production. */
const sibling = (name: string): URL =>
  new URL(`./${name}${extname(import.meta.url)}`, import.meta.url);

/** Hands on messages of the protocol; of any other only the fact. */
const checked =
  ({ message }: ExecutorEvents) =>
  (received: unknown): void => {
    for (const one of asList(received)) message(isFromExecutor(one) ? one : { kind: 'foreign' });
  };

const asList = (received: unknown): readonly unknown[] =>
  Array.isArray(received) ? received : [received];

/** Handlers and libraries can use the thread's own port (parentPort), so the protocol has another one. */
export const spawnThread: SpawnExecutor = (setup, events) => {
  const claimTable = new ClaimTable();
  const { port1: port, port2: threadPort } = new MessageChannel();
  let isLoaded = false;
  const receive = checked({
    ...events,
    message: (message) => {
      if (message.kind === 'ready') isLoaded = true;
      events.message(message);
    },
  });
  let thread: Worker;
  try {
    thread = new Worker(sibling('thread/main'), {
      workerData: { setup, memory: claimTable.memory, port: threadPort },
      transferList: [threadPort],
      resourceLimits: { maxOldGenerationSizeMb: setup.heapMb },
    });
  } catch (error) {
    port.close();
    return notStarted(`its thread did not start: ${messageOf(error)}`, events);
  }
  let isExpected = false;
  let thrown: { readonly error: unknown } | undefined;
  port.on('message', receive);
  thread.on('message', () => events.message({ kind: 'foreign' }));
  thread.on('error', (error) => {
    thrown = { error };
  });
  const ended = new Promise<void>((resolve) => {
    thread.once('exit', () => {
      // Messages that it sent before it ended.
      for (let last = receiveMessageOnPort(port); last; last = receiveMessageOnPort(port)) {
        receive(last.message);
      }
      port.close();
      resolve();
      if (!isExpected) events.died(causeOf(thrown, isLoaded, setup.heapMb));
    });
  });
  // A port has no origin.
  // oxlint-disable-next-line unicorn/require-post-message-target-origin
  const outbox = new Outbox<ToExecutor>((messages) => port.postMessage(messages));
  return {
    claimTable,
    ended,
    post: (message) => {
      outbox.add(message);
      if (message.kind !== 'run') outbox.flush();
    },
    terminate: async () => {
      isExpected = true;
      void thread.terminate();
      await ended;
    },
  };
};

/** Handlers of a loaded module have secrets, which are not known here: nothing is said of what was thrown. */
function causeOf(
  thrown: { readonly error: unknown } | undefined,
  isLoaded: boolean,
  heapMb: number,
): DeathCause {
  if (thrown === undefined) return { how: 'ended', text: 'its thread ended by itself' };
  if (codeOf(thrown.error) === 'ERR_WORKER_OUT_OF_MEMORY') {
    return { how: 'heap', text: `its thread used up its heap of ${heapMb} MB` };
  }
  const text = isLoaded
    ? 'its thread ended by an exception that nobody caught; do not remove listeners of process'
    : `its thread ended: ${messageOf(thrown.error)}`;
  return { how: 'ended', text };
}

/** The system has no thread left, for example. Reported like any other end, after the caller has the handle. */
function notStarted(text: string, events: ExecutorEvents): ExecutorHandle {
  setImmediate(() => events.died({ how: 'ended', text }));
  return {
    claimTable: undefined,
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
  let isExpected = false;
  let cause: DeathCause | undefined;
  const died = (found: DeathCause): void => {
    if (!isExpected) events.died(found);
    isExpected = true;
  };
  const receive = checked({
    ...events,
    message: (message) => {
      if (message.kind === 'died') {
        cause = message.cause;
        child.kill('SIGKILL');
      } else events.message(message);
    },
  });
  child.on('message', receive);
  // A message could not be sent because the process is ending; 'exit' reports that.
  child.on('error', () => {});
  const ended = new Promise<void>((resolve) => {
    child.once('exit', (code, signal) => {
      resolve();
      died(
        cause ?? { how: 'process', text: `its process ended by ${signal ?? `exit code ${code}`}` },
      );
    });
    child.once('error', (error) => {
      // It did not start (no memory, no file): there will be no 'exit'.
      if (child.pid !== undefined) return;
      resolve();
      died({ how: 'ended', text: `its process did not start: ${messageOf(error)}` });
    });
  });
  const send = (message: object): void => {
    if (child.connected) child.send(message);
  };
  send({ kind: 'setup', setup });
  const alive = setInterval(() => send({ kind: 'alive' }), setup.silenceMs / 5);
  void ended.then(() => clearInterval(alive));
  return {
    claimTable: undefined,
    ended,
    post: send,
    terminate: async () => {
      isExpected = true;
      child.kill('SIGKILL');
      await ended;
    },
  };
};
