/** A database, a queue backend, a dispatcher and workers, put together as the roles put them together. */
import { randomUUID } from 'node:crypto';
import type { Database } from '../../src/db/database.ts';
import type { Handler } from '../../src/handlers/define.ts';
import { createRegistry } from '../../src/handlers/index.ts';
import { toJobType } from '../../src/handlers/job-types.ts';
import { registerJobTypes } from '../../src/jobs/registration.ts';
import { createLlm } from '../../src/llm/create-llm.ts';
import type { LlmProviderConfig } from '../../src/llm/create-llm.ts';
import { createMetrics } from '../../src/metrics.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import type { QueueBackend } from '../../src/queues/backend.ts';
import { createTransport } from '../../src/queues/transport.ts';
import type { Transport } from '../../src/queues/transport.ts';
import { startLoop } from '../../src/process/loop.ts';
import { dispatchOnce } from '../../src/scheduler/dispatch-round.ts';
import type { ExecutorSetup } from '../../src/worker/executors/protocol.ts';
import { Executors } from '../../src/worker/executors/executors.ts';
import { startWorker } from '../../src/worker/worker.ts';
import type { WorkerService, WorkerServiceOptions } from '../../src/worker/worker.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { spawnInline } from './inline-executor.ts';

export interface Fleet {
  readonly test: TestDatabase;
  readonly database: Database;
  readonly transport: Transport;
  readonly backend: QueueBackend;
  readonly metrics: ReturnType<typeof createMetrics>;
  /** Registers the handlers and starts a worker for them. */
  startWorker(
    handlers: readonly Handler[],
    overrides?: Partial<WorkerServiceOptions>,
    setup?: Partial<ExecutorSetup>,
  ): Promise<WorkerService>;
  /** One round of dispatch; throws what it throws. */
  dispatch(): Promise<number>;
  close(): Promise<void>;
}

/** With a Redis URL the queues are there, without one in the database. Dispatches all the time. */
export async function openFleet(
  redisUrl: string | undefined,
  dispatching = true,
  provider: LlmProviderConfig = { kind: 'offline' },
): Promise<Fleet> {
  const test = await freshDatabase();
  const database = await test.open({ systemConnections: 8, tenantConnections: 8 });
  const metrics = createMetrics();
  const backend = openQueueBackend({
    redisUrl,
    databaseUrl: test.url,
    workers: 8,
    fleetId: database.fleetId + randomUUID(),
    applicationName: 'purser test fleet',
    log: silentLog,
  });
  const transport = createTransport(backend);
  const workers = new Set<WorkerService>();
  const dispatch = () =>
    dispatchOnce({ sql: database.system, backend, transport, log: silentLog, metrics });
  const loop = dispatching
    ? startLoop({ name: 'dispatch', everyMs: 20, log: silentLog, runOnce: dispatch })
    : undefined;
  return {
    test,
    database,
    transport,
    backend,
    metrics,
    dispatch,
    startWorker: async (given, overrides = {}, setup = {}) => {
      const handlers = given.map((handler) => ({ ...handler, backoff: { baseMs: 1, capMs: 1 } }));
      await registerJobTypes(database.system, handlers.map(toJobType));
      const processId = randomUUID();
      const graceMs = 100;
      const spawn = spawnInline(createRegistry(handlers));
      const executors = await Executors.open({
        setup: {
          handlersModule: undefined,
          tenantAccess: database.tenantAccess,
          logLevel: 'silent',
          heapMb: 256,
          graceMs,
          silenceMs: 10_000,
          ...setup,
        },
        applicationName: `purser test executor ${processId.slice(0, 8)}`,
        threads: 1,
        maxWaitingSuspects: 3,
        llm: createLlm({ provider, budgetSql: database.system }),
        log: silentLog,
        metrics,
        spawn: { thread: spawn, process: spawn },
        endSessions: () => Promise.resolve(),
      });
      const service = startWorker({
        database,
        backend,
        transport,
        metrics,
        executors,
        log: silentLog,
        leaseMs: 30_000,
        graceMs,
        concurrency: 4,
        begunAhead: 400,
        shutdownGraceMs: 5_000,
        process: { processId, version: 'test', hostname: 'test', pid: process.pid },
        onThreadStuck: (text) => {
          throw new Error(text);
        },
        ...overrides,
      });
      workers.add(service);
      return {
        stop: async () => {
          workers.delete(service);
          await service.stop();
        },
      };
    },
    close: async () => {
      await loop?.stop();
      for (const worker of workers) await worker.stop();
      await transport.close();
      await backend.close();
      await test.close();
    },
  };
}
