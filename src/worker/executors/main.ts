/**
 * The thread that runs handlers: loads them, opens a tenant pool of its own, and turns what would end a
 * process (process.exit, a promise that nobody waits for, a throw from a timer) into the end of one attempt.
 */
import { createHook } from 'node:async_hooks';
import { parentPort, workerData } from 'node:worker_threads';
import { destination } from 'pino';
import { keysOf } from '../../crypto/open-keyring.ts';
import { openTenantPool } from '../../db/tenant-pool.ts';
import { messageOf, PurserError } from '../../errors.ts';
import { openRegistry } from '../../handlers/index.ts';
import type { HandlerRegistry } from '../../handlers/index.ts';
import { currentAttempt, Executor } from './executor.ts';
import { factsOf } from './facts.ts';
import { SharedBoard } from './protocol.ts';
import type { ExecutorSetup, FromExecutor, ToExecutor } from './protocol.ts';
import { packError } from './packed-errors.ts';

const beatEveryMs = 100;

/** Writes down whose code runs, before each callback: the one who blocks the loop has then signed for it. */
function signForCallbacks(board: SharedBoard): void {
  createHook({ before: () => board.setCurrent(currentAttempt.getStore()?.place ?? 0) }).enable();
}

/** Bytes that are text lose the secrets in it; all others stay what they are. */
function withoutSecrets(executor: Executor, chunk: unknown): unknown {
  if (typeof chunk === 'string') return executor.redact(chunk);
  if (!(chunk instanceof Uint8Array)) return chunk;
  const text = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('utf8');
  const clean = executor.redact(text);
  return clean === text ? chunk : Buffer.from(clean);
}

/** What a handler writes past its log (console.log) goes without its secrets too. */
function redactOutput(executor: Executor): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.write = new Proxy(stream.write.bind(stream), {
      apply: (write, self, [chunk, ...rest]: unknown[]) =>
        Reflect.apply(write, self, [withoutSecrets(executor, chunk), ...rest]),
    });
  }
}

function trapFaults(executor: Executor, post: (message: FromExecutor) => void): void {
  const blame = (code: string, message: string, cause?: unknown): PurserError => {
    const error = new PurserError(code, message, { cause });
    const running = currentAttempt.getStore();
    if (running !== undefined) executor.fault(running.token, error);
    return error;
  };
  process.exit = (exitCode?: number | string | null): never => {
    throw blame(
      'handler_exit',
      `the handler called process.exit(${exitCode ?? ''}); a handler ends by returning or throwing`,
    );
  };
  process.on('unhandledRejection', (reason: unknown) => {
    blame(
      'unhandled_rejection',
      `a promise of the handler was rejected and nobody waited for it: ${messageOf(reason)}`,
      reason,
    );
  });
  process.on('uncaughtException', (error: unknown) => {
    if (error instanceof PurserError && error.code === 'handler_exit') return;
    const text = `the handler threw in a callback that nobody caught: ${messageOf(error)}`;
    blame('uncaught_exception', text, error);
    post({ kind: 'spoiled', reason: executor.redact(text) });
  });
}

async function main(): Promise<void> {
  const port = parentPort;
  if (port === null) throw new Error('executors/main runs in a thread');
  // The supervisor starts it, with exactly this.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  const { setup, memory } = workerData as { setup: ExecutorSetup; memory: SharedArrayBuffer };
  const post = (message: FromExecutor): void => port.postMessage(message);
  const board = new SharedBoard(memory);
  const openKeys = keysOf(setup.keys);
  let registry: HandlerRegistry;
  try {
    registry = await openRegistry(setup.handlersModule, openKeys, setup.finops);
  } catch (error) {
    post({ kind: 'unfit', error: packError(error) });
    return;
  }
  const tenant = openTenantPool(setup.tenantAccess, {
    max: setup.tenantConnections,
    applicationName: setup.applicationName,
  });
  const executor = new Executor({
    registry,
    tenant,
    openKeys,
    logLevel: setup.logLevel,
    graceMs: setup.graceMs,
    stderr: destination({ fd: 2, sync: true }),
    post,
    board,
  });
  trapFaults(executor, post);
  redactOutput(executor);
  signForCallbacks(board);
  const beats = setInterval(() => board.beat(), beatEveryMs);
  board.beat();
  port.on('message', (message: ToExecutor) => {
    if (message.kind !== 'stop') {
      executor.receive(message);
      return;
    }
    clearInterval(beats);
    void tenant.close().finally(() => port.close());
  });
  post({ kind: 'ready', jobTypes: factsOf(registry) });
}

await main();
