/**
 * The database pools and the queues of one process, opened from the configuration and closed by the lifecycle.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Config } from '../../config.ts';
import { openDatabase } from '../../db/database.ts';
import type { Database } from '../../db/database.ts';
import { assertMigrated } from '../../db/migrate.ts';
import { directUrlRequired } from '../../db/pooler.ts';
import type { Lifecycle } from '../../process/lifecycle.ts';
import type { Logger } from '../../log.ts';
import { openQueueBackend } from '../../queues/backend.ts';
import type { QueueBackend } from '../../queues/backend.ts';
import { createTransport } from '../../queues/transport.ts';
import type { Transport } from '../../queues/transport.ts';
import { runOnce } from '../startup/run-steps.ts';
import type { RunStep } from '../startup/run-steps.ts';
import { version } from '../version.ts';
import { assertDirectUrl, databaseOptions, databaseUrl } from './database-options.ts';
import type { ServiceNeeds } from './database-options.ts';

/**
 * Opens both pools; closed by the lifecycle. Throws `not_migrated` (exit 78) where a migration is missing. `step`: how
 * a role runs its start-up steps; a command makes one attempt.
 */
export async function openServiceDatabase(
  config: Config,
  lifecycle: Lifecycle,
  needs: ServiceNeeds,
  step: RunStep = runOnce,
): Promise<Database> {
  const database = await step('connect_database', (signal) =>
    openDatabase({ ...databaseOptions(config, needs), signal }),
  );
  lifecycle.opened('database', () => database.close());
  await step('check_migrations', (signal) => database.once(signal, assertMigrated));
  return database;
}

export interface Queues {
  readonly backend: QueueBackend;
  readonly transport: Transport;
}

/** Opens the queue store that the configuration names; closed by the lifecycle. */
export function openQueues(
  config: Config,
  lifecycle: Lifecycle,
  options: { database: Database; workers: number; name: string; log: Logger },
): Queues {
  const inPostgres = config.REDIS_URL === undefined && config.DATABASE_DIRECT_URL === undefined;
  if (inPostgres && options.database.pooler === 'transaction') {
    throw directUrlRequired('queues in Postgres, which use LISTEN,');
  }
  const backend = openQueueBackend({
    redisUrl: config.REDIS_URL,
    redisTlsVerify: config.REDIS_TLS_VERIFY,
    databaseUrl: config.DATABASE_DIRECT_URL ?? databaseUrl(config),
    databaseTlsVerify: config.DATABASE_TLS_VERIFY,
    serverVersion: options.database.serverVersion,
    workers: options.workers,
    leaseMs: config.PURSER_LEASE_MS,
    fleetId: options.database.fleetId,
    applicationName: `purser ${options.name}`,
    log: options.log,
  });
  lifecycle.opened('queue store', () => backend.close());
  const transport = createTransport(backend);
  lifecycle.opened('queues', () => transport.close());
  return { backend, transport };
}

/** Throws what `ready` throws, and `direct_url_differs` where the queues would be in another database than the jobs. */
export async function connectQueues(
  config: Config,
  { backend }: Queues,
  options: { readonly name: string; readonly withinMs: number },
): Promise<void> {
  await backend.ready(options.withinMs);
  if (backend.kind === 'postgres') await assertDirectUrl(config, `purser ${options.name}`);
}

/** The identity of this process in heartbeats and leases. */
export function thisProcess(role: string) {
  return {
    processId: `${role}-${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`,
    version,
    hostname: hostname(),
    pid: process.pid,
  };
}
