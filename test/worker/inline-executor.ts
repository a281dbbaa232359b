/**
 * Executors of this very thread, so that a test's handlers may be closures: the same code, the same messages
 * (cloned as they would be), and no force.
 */
import { destination } from 'pino';
import { keysOf } from '../../src/crypto/open-keyring.ts';
import { openTenantPool } from '../../src/db/tenant-pool.ts';
import type { HandlerRegistry } from '../../src/handlers/index.ts';
import { Executor } from '../../src/worker/executors/executor.ts';
import { factsOf } from '../../src/worker/executors/facts.ts';
import { SharedBoard } from '../../src/worker/executors/protocol.ts';
import type { SpawnExecutor } from '../../src/worker/executors/spawn.ts';

/** What is posted after the end is heard by nobody, as with a thread that was terminated. */
export const spawnInline =
  (registry: HandlerRegistry): SpawnExecutor =>
  (setup, events) => {
    const board = new SharedBoard();
    const tenant = openTenantPool(setup.tenantAccess, {
      max: setup.tenantConnections,
      applicationName: setup.applicationName,
    });
    let over = false;
    let ended: () => void = () => {};
    const untilEnded = new Promise<void>((resolve) => {
      ended = resolve;
    });
    const later = (deliver: () => void): void => void setImmediate(() => over || deliver());
    const executor = new Executor({
      registry,
      tenant,
      openKeys: keysOf(setup.keys),
      board,
      logLevel: setup.logLevel,
      graceMs: setup.graceMs,
      stderr: destination({ fd: 2, sync: true }),
      post: (message) => {
        const copy = structuredClone(message);
        later(() => events.message(copy));
      },
    });
    const beats = setInterval(() => board.beat(), 50);
    const end = async (): Promise<void> => {
      over = true;
      clearInterval(beats);
      await tenant.close();
      ended();
    };
    later(() => events.message({ kind: 'ready', jobTypes: factsOf(registry) }));
    return {
      board,
      ended: untilEnded,
      post: (message) => {
        const copy = structuredClone(message);
        later(() => (copy.kind === 'stop' ? void end() : executor.receive(copy)));
      },
      terminate: end,
    };
  };
