/**
 * Executors in the test's own thread, so that handlers can be closures: the same code and the same messages, cloned as
 * between threads, but nothing can be terminated.
 */
import { keysOf } from '../../src/crypto/open-keyring.ts';
import { openTenantPool } from '../../src/db/tenant-pool.ts';
import type { HandlerRegistry } from '../../src/handlers/index.ts';
import { Executor } from '../../src/worker/executors/thread/executor.ts';
import { factsOf } from '../../src/worker/executors/thread/facts.ts';
import { ClaimTable } from '../../src/worker/executors/claim-table.ts';
import { stderrDestination } from '../../src/log.ts';
import type { SpawnExecutor } from '../../src/worker/executors/spawn.ts';

/** Messages after its end are dropped, as those of a terminated thread. */
export const spawnInline =
  (registry: HandlerRegistry): SpawnExecutor =>
  (setup, events) => {
    const claimTable = new ClaimTable();
    const tenant = openTenantPool(setup.tenantAccess, {
      max: setup.tenantConnections,
      applicationName: setup.applicationName,
    });
    let isEnded = false;
    let ended: () => void = () => {};
    const untilEnded = new Promise<void>((resolve) => {
      ended = resolve;
    });
    const later = (deliver: () => void): void => void setImmediate(() => isEnded || deliver());
    const executor = new Executor({
      registry,
      tenant,
      openKeys: keysOf(setup.keys),
      claimTable,
      logLevel: setup.logLevel,
      graceMs: setup.graceMs,
      stderr: stderrDestination(),
      post: (message) => {
        const copy = structuredClone(message);
        later(() => events.message(copy));
      },
    });
    const heartbeats = setInterval(() => claimTable.heartbeat(), 50);
    const end = async (): Promise<void> => {
      isEnded = true;
      clearInterval(heartbeats);
      await tenant.close();
      ended();
    };
    later(() => events.message({ kind: 'ready', jobTypes: factsOf(registry) }));
    return {
      claimTable,
      ended: untilEnded,
      post: (message) => {
        const copy = structuredClone(message);
        later(() => (copy.kind === 'stop' ? void end() : executor.receive(copy)));
      },
      terminate: end,
    };
  };
