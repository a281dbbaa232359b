/**
 * The only file that knows the queue store: Redis if REDIS_URL is set, otherwise BullMQ's Postgres backend on the same
 * database. No other file imports `ioredis` or `pg`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';
import type { Processor, WorkerOptions } from 'bullmq';
import { createPostgresBackend, withBackend } from 'bullmq';
import type { PostgresConnectionOptions } from 'bullmq';
import { Redis } from 'ioredis';
import { Pool } from 'pg';
import type { Logger } from '../log.ts';
import { warnThrottled } from '../process/log-throttle.ts';
import { explainConnection, untilReady, withinOrAway } from './first-connection.ts';
import { openUserMark } from './user-mark.ts';
import type { UserMark } from './user-mark.ts';
import { waitingPool } from './waiting-pool.ts';
import { defaultJobOptions, queueSession, quietWorkers, workerDefaults } from './bullmq-options.ts';
import { readEvictionPolicy } from './eviction-policy.ts';
import { listDamagedKeys } from './key-types.ts';
import type { DamagedKey } from './key-types.ts';
import { migrateTables } from './migrate-tables.ts';
import { poolConfig } from './pool-config.ts';
import type { DatabaseOptions } from './pool-config.ts';
import { pingPool, probePool, redisRefusal, throttledWrite } from './write-probe.ts';

export interface QueueBackendOptions extends DatabaseOptions {
  readonly redisUrl?: string | undefined;
  readonly redisTlsVerify?: boolean | undefined;
  /** Number of BullMQ workers that this process opens; each has a connection of its own. */
  readonly workers: number;
  /** About the time after which entries of a dead worker go to another one. */
  readonly leaseMs?: number | undefined;
  /** Prefix of the keys, so that several fleets can share a Redis. */
  readonly fleetId: string;
  readonly log: Logger;
}

/** Data of a BullMQ entry: ids, never a payload. */
export interface Entry {
  /** Random, and BullMQ's id too. */
  readonly entryId: string;
  readonly jobIds: readonly string[];
  /** Its job was lost once: it begins only when it may run. */
  readonly alone?: boolean;
}

export interface QueueBackend {
  readonly kind: 'redis' | 'postgres';
  queue(name: string): Queue<Entry>;
  worker(
    name: string,
    processor: Processor<Entry>,
    options: Pick<WorkerOptions, 'concurrency'>,
  ): Worker<Entry>;
  /** Resolves when connected, or after `timeoutMs`; a role also starts without the store. Rejects a refused login. */
  ready(timeoutMs: number): Promise<void>;
  /** Rejects if the store is unavailable. */
  ping(): Promise<unknown>;
  /**
   * Rejects if the store is unavailable or does not accept writes: `queue_store_read_only` or
   * `queue_store_refuses_writes` (503). Writes at most once a second; in between, it only pings.
   */
  probeWrite(): Promise<void>;
  /** Whether a worker holds this active entry. In Postgres always true: BullMQ itself returns those of dead workers. */
  isHeld(queue: string, entryId: string): Promise<boolean>;
  /** Redis only: its maxmemory-policy, if the client may read it. */
  evictionPolicy(): Promise<string | undefined>;
  /** Redis only: keys of a queue that BullMQ cannot use. */
  damagedKeys(queue: string): Promise<readonly DamagedKey[]>;
  /** Redis only: queues in Postgres are copied with their database. */
  readonly userMark: UserMark | undefined;
  close(): Promise<void>;
}

const commandTimeoutMs = 10_000;
const closeTimeoutMs = 5_000;
/** Maximum connections of the Postgres queues: one LISTEN per worker (job type), two for commands. */
export const queueConnections = (workers: number): number => workers + 2;

export function openQueueBackend(options: QueueBackendOptions): QueueBackend {
  return options.redisUrl === undefined
    ? openPostgresBackend(options)
    : openRedisBackend(options, options.redisUrl);
}

function openRedisBackend(options: QueueBackendOptions, url: string): QueueBackend {
  const log = warnThrottled(options.log);
  const tls =
    options.redisTlsVerify === undefined
      ? {}
      : { tls: { rejectUnauthorized: options.redisTlsVerify } };
  const common = {
    ...tls,
    connectionName: options.applicationName,
    retryStrategy: (times: number) => Math.min(times * 200, 3_000),
  };
  // While Redis is unavailable, a producer has to fail and a worker has to wait.
  const producer = new Redis(url, {
    ...common,
    enableOfflineQueue: false,
    // A half-open connection must not block dispatch.
    commandTimeout: commandTimeoutMs,
    maxRetriesPerRequest: 1,
  });
  const consumer =
    options.workers > 0 ? new Redis(url, { ...common, maxRetriesPerRequest: null }) : undefined;
  const clients = consumer === undefined ? [producer] : [producer, consumer];
  for (const client of clients) {
    client.on('error', (error) =>
      log.warn({ error: explainConnection(error, client) }, 'redis_error'),
    );
  }
  const prefix = `purser:${options.fleetId.slice(0, 8)}`;
  const ping = () => producer.ping();
  return {
    kind: 'redis',
    queue: (name) => {
      const queue = new Queue<Entry>(name, {
        connection: producer,
        prefix,
        defaultJobOptions,
        skipWaitingForReady: true,
        // A queue whose first command failed would return that failure for ever.
        skipVersionCheck: true,
      });
      queue.on('error', (error) => log.warn({ queue: name, error }, 'queue_error'));
      return queue;
    },
    worker: (name, processor, workerOptions) => {
      if (consumer === undefined) throw new Error('this backend was opened without workers');
      const worker = new Worker<Entry>(name, processor, {
        ...workerDefaults(options.leaseMs),
        ...quietWorkers(options.leaseMs),
        ...workerOptions,
        connection: consumer,
        prefix,
        // As for queues: a worker whose first command failed would return that failure for ever, without a pause.
        skipWaitingForReady: true,
        skipVersionCheck: true,
      });
      worker.on('error', (error) => log.warn({ queue: name, error }, 'worker_error'));
      return worker;
    },
    ready: async (timeoutMs) => {
      await withinOrAway(timeoutMs, Promise.all(clients.map(untilReady)));
    },
    ping,
    probeWrite: throttledWrite(ping, async () => {
      try {
        await producer.set(`${prefix}:write-probe`, '1', 'EX', 60);
      } catch (error) {
        throw redisRefusal(error);
      }
    }),
    isHeld: async (queue, entryId) =>
      (await producer.exists(`${prefix}:${queue}:${entryId}:lock`)) === 1,
    evictionPolicy: () => readEvictionPolicy(producer),
    userMark: openUserMark(producer, `${prefix}:user`),
    damagedKeys: (queue) => listDamagedKeys(producer, `${prefix}:${queue}`),
    close: async () => {
      for (const client of clients) disconnect(client);
      await Promise.resolve();
    },
  };
}

/** ioredis removes the listener of a TLS handshake that it aborts; its error would end the process. */
function disconnect(client: Redis): void {
  const { stream }: { stream?: Redis['stream'] | undefined } = client;
  stream?.on('error', () => {});
  client.disconnect();
}

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- only the overloads of `on` differ
const asConnection = (given: Pool) => given as unknown as PostgresConnectionOptions;

function openPostgresBackend(options: QueueBackendOptions): QueueBackend {
  const log = warnThrottled(options.log);
  const pool = new Pool({
    ...poolConfig(options, queueSession),
    max: queueConnections(options.workers),
    keepAlive: true,
  });
  pool.setMaxListeners(100); // Each queue and worker listens too.
  pool.on('error', (error) => log.warn({ error }, 'queue_database_error'));
  // BullMQ does not listen for errors of a client that it has checked out: one would end the process.
  pool.on('connect', (client) => client.on('error', () => {}));
  const ping = () => pingPool(pool, commandTimeoutMs);
  const classes = withBackend(createPostgresBackend);
  const queueConnection = { connection: asConnection(waitingPool(pool, commandTimeoutMs)) };
  const workerConnection = { connection: asConnection(waitingPool(pool)) };
  return {
    kind: 'postgres',
    queue: (name) => {
      const queue = new classes.Queue<Entry>(name, { ...queueConnection, defaultJobOptions });
      queue.on('error', (error) => log.warn({ queue: name, error }, 'queue_error'));
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion
      return queue as unknown as Queue<Entry>;
    },
    worker: (name, processor, workerOptions) => {
      const worker = new classes.Worker<Entry>(name, processor, {
        ...workerDefaults(options.leaseMs),
        ...workerOptions,
        ...workerConnection,
      });
      worker.on('error', (error) => log.warn({ queue: name, error }, 'worker_error'));
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion
      return worker as unknown as Worker<Entry>;
    },
    ready: (timeoutMs) => withinOrAway(timeoutMs, ping()),
    ping,
    probeWrite: throttledWrite(ping, () => probePool(pool)),
    isHeld: () => Promise.resolve(true),
    evictionPolicy: async () => {
      await ping();
      return undefined;
    },
    userMark: undefined,
    damagedKeys: () => Promise.resolve([]),
    // end() would wait for ever for a LISTEN connection that its worker did not return.
    close: () => Promise.race([pool.end(), sleep(closeTimeoutMs, undefined, { ref: false })]),
  };
}

/** Creates or updates the tables of the queues in Postgres. */
export async function migrateQueueTables(
  options: DatabaseOptions & { readonly lockTimeoutMs?: number },
): Promise<void> {
  const settings = { lock_timeout: String(options.lockTimeoutMs ?? 0) };
  await migrateTables(new Pool({ ...poolConfig(options, settings), max: 1 }));
}
