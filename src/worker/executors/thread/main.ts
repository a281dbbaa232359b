/** The thread that runs handlers: it loads them and opens its own tenant pool. */
import { createHook } from 'node:async_hooks';
import { workerData } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { keysOf } from '../../../crypto/open-keyring.ts';
import { maxReadCharacters, readableText } from '../../../bounded-text.ts';
import { openTenantPool } from '../../../db/tenant-pool.ts';
import { stderrDestination } from '../../../log.ts';
import { openRegistry } from '../../../handlers/index.ts';
import type { HandlerRegistry } from '../../../handlers/index.ts';
import { ClaimTable } from '../claim-table.ts';
import { BuiltInWatch } from './built-in-watch.ts';
import { currentAttempt, Executor } from './executor.ts';
import { factsOf } from './facts.ts';
import { trapExits, trapFaults } from './faults.ts';
import { Outbox } from '../outbox.ts';
import type { ExecutorSetup, FromExecutor, ToExecutor } from '../protocol.ts';
import { packError } from '../packed-errors.ts';

const heartbeatEveryMs = 100;
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
  const exits = trapExits();
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
  trapFaults(executor, exits, post);
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
