/**
 * The thread that runs handlers: it loads them and opens its own tenant pool. What would end a process (process.exit,
 * an unhandled rejection, an exception in a timer) ends one attempt.
 */
import { createHook } from 'node:async_hooks';
import { workerData } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { keysOf } from '../../../crypto/open-keyring.ts';
import { maxReadCharacters, readableText } from '../../../bounded-text.ts';
import { openTenantPool } from '../../../db/tenant-pool.ts';
import { messageOf, PurserError } from '../../../errors.ts';
import { stderrDestination } from '../../../log.ts';
import { openRegistry } from '../../../handlers/index.ts';
import type { HandlerRegistry } from '../../../handlers/index.ts';
import { ClaimTable } from '../claim-table.ts';
import { BuiltInWatch } from './built-in-watch.ts';
import { currentAttempt, Executor } from './executor.ts';
import { factsOf } from './facts.ts';
import { Outbox } from '../outbox.ts';
import type { ExecutorSetup, FromExecutor, ToExecutor } from '../protocol.ts';
import { packError } from '../packed-errors.ts';
import { readableThrown, storableText } from '../../store-value.ts';

const heartbeatEveryMs = 100;
const maxMessageLength = 4_000;
const maxPropertyLength = 200;

/** Records before each callback which attempt's code runs, so that the supervisor sees which one blocks the loop. */
function recordRunningAttempt(claimTable: ClaimTable): void {
  createHook({
    before: () => claimTable.setRunning(currentAttempt.getStore()?.slotIndex ?? 0),
  }).enable();
}

/** Removes secrets from text and from bytes that contain them; other bytes are not changed. */
function redactChunk(executor: Executor, chunk: unknown): unknown {
  if (typeof chunk === 'string') return executor.redact(readableText(chunk));
  if (!(chunk instanceof Uint8Array)) return chunk;
  if (chunk.byteLength > maxReadCharacters)
    return `[${chunk.byteLength} bytes, which are not read]`;
  const text = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('utf8');
  const clean = executor.redact(text);
  return clean === text ? chunk : Buffer.from(clean);
}

/** Secrets are also removed from what a handler writes without its log (console.log). */
function redactOutput(executor: Executor): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.write = new Proxy(stream.write.bind(stream), {
      apply: (write, self, [chunk, ...rest]: unknown[]) =>
        Reflect.apply(write, self, [redactChunk(executor, chunk), ...rest]),
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
      `the handler called process.exit(${typeof exitCode === 'number' ? exitCode : ''}); a handler ends by returning or throwing`,
    );
  };
  process.on('unhandledRejection', (thrown: unknown) => {
    const reason = readableThrown(thrown);
    blame(
      'unhandled_rejection',
      `the handler did not handle the rejection of a promise: ${storableText(messageOf(reason), maxMessageLength)}`,
      reason,
    );
  });
  process.on('uncaughtException', (thrown: unknown) => {
    const error = readableThrown(thrown);
    if (error instanceof PurserError && error.code === 'handler_exit') return;
    const message = storableText(messageOf(error), maxMessageLength);
    const text = `the handler did not catch an exception in a callback: ${message}`;
    blame('uncaught_exception', text, error);
    post({ kind: 'retire', reason: executor.redact(text) });
  });
}

/** An end says that its attempt started. */
function withoutKnownStarts(messages: readonly FromExecutor[]): readonly FromExecutor[] {
  const ended = new Set<string>();
  for (const message of messages) if (message.kind === 'ended') ended.add(message.token);
  if (ended.size === 0) return messages;
  return messages.filter((message) => message.kind !== 'started' || !ended.has(message.token));
}

async function main(): Promise<void> {
  // spawn.ts starts it with exactly this.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  const { setup, memory, port } = workerData as {
    setup: ExecutorSetup;
    memory: SharedArrayBuffer;
    port: MessagePort;
  };
  // The supervisor's port is not for handlers.
  Reflect.deleteProperty(workerData, 'port');
  const send = port.postMessage.bind(port);
  const outbox = new Outbox<FromExecutor>((messages) => send(withoutKnownStarts(messages)));
  const post = (message: FromExecutor): void => outbox.add(message);
  const claimTable = new ClaimTable(memory);
  const openKeys = keysOf(setup.keys);
  const builtIns = new BuiltInWatch(({ property, jobTypes }) => {
    const name = executor.redact(property.slice(0, maxPropertyLength));
    post({ kind: 'built_in_changed', property: name, jobTypes });
  });
  let registry: HandlerRegistry;
  try {
    registry = await openRegistry(setup.handlersModule, openKeys, setup.finops);
  } catch (error) {
    post({ kind: 'load_failed', error: packError(error) });
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
    stderr: stderrDestination(),
    post,
    claimTable,
    builtIns,
  });
  trapFaults(executor, post);
  redactOutput(executor);
  recordRunningAttempt(claimTable);
  const heartbeats = setInterval(() => claimTable.heartbeat(), heartbeatEveryMs);
  claimTable.heartbeat();
  const receive = (message: ToExecutor): void => {
    if (message.kind !== 'stop') {
      executor.receive(message);
      return;
    }
    clearInterval(heartbeats);
    void tenant.close().finally(() => port.close());
  };
  port.on('message', (messages: readonly ToExecutor[]) => {
    // Each in a turn of its own: when code of one attempt blocks, those after it have not been claimed.
    if (messages.length > 1) for (const message of messages) setImmediate(receive, message);
    else {
      for (const message of messages) receive(message);
      // No code of the attempt has run yet: it cannot keep the report of its start.
      outbox.flush();
    }
  });
  post({ kind: 'ready', jobTypes: factsOf(registry) });
}

await main();
