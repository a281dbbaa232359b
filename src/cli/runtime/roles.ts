/**
 * Starts the three roles for `start` and `demo`. Each role registers its closing with the lifecycle; roles do not
 * depend on each other.
 */
import { randomBytes } from 'node:crypto';
import { disabledBuiltins } from '../../builtins.ts';
import type { Config } from '../../config.ts';
import { keyringSourceOf, keysOf } from '../../crypto/open-keyring.ts';
import type { Queryable } from '../../db/connect.ts';
import type { Database } from '../../db/database.ts';
import type { KnownKeys } from '../../db/heartbeats.ts';
import { offlineAnalyst } from '../../costs/analyst/local-analyst.ts';
import { removeStaleUploads } from '../../costs/uploads/uploads.ts';
import { listJobTypes } from '../../jobs/registration.ts';
import type { Lifecycle } from '../../process/lifecycle.ts';
import type { LlmProviderConfig } from '../../llm/create-llm.ts';
import { createLogger } from '../../log.ts';
import { createMetrics } from '../../metrics.ts';
import { startScheduler } from '../../scheduler/scheduler.ts';
import { watchForStalls } from '../../process/stall-watchdog.ts';
import type { Door } from '../../web/door.ts';
import { startWeb } from '../../web/web.ts';
import { writeWorkerHeartbeat } from '../../worker/heartbeat.ts';
import { startWorker } from '../../worker/worker.ts';
import type { RoleName } from '../startup/steps.ts';
import type { Queues } from './services.ts';
import { handlerGraceMs } from './worker-parts.ts';
import type { WorkerParts } from './worker-parts.ts';
import { thisProcess } from './services.ts';
import { version } from '../version.ts';

export interface RoleContext {
  readonly config: Config;
  readonly lifecycle: Lifecycle;
  readonly database: Database;
  readonly queues: Queues;
  /** For heartbeats: the fleet writes with a key once every process has it. */
  readonly keys?: KnownKeys | undefined;
}

/**
 * System connections of a role. A worker has one more for its lease, and those of its threads (see
 * executorConnections). BullMQ's connections are additional; see docs/deployment.md.
 */
export const systemConnections: Readonly<Record<RoleName, number>> = {
  scheduler: 2,
  worker: 2,
  web: 1,
};

const reconcileAfterMs = 10_000;

/** The provider behind `ctx.llm`: the configured one, or the offline analyst. */
export function llmProviderOf(config: Config): LlmProviderConfig {
  const provider =
    config.LLM_PROVIDER ?? (config.OPENAI_API_KEY === undefined ? 'offline' : 'openai');
  if (provider === 'offline') return { kind: 'offline', analyst: offlineAnalyst };
  const access = {
    openai: { apiKey: config.OPENAI_API_KEY, baseUrl: config.OPENAI_BASE_URL },
    anthropic: { apiKey: config.ANTHROPIC_API_KEY, baseUrl: config.ANTHROPIC_BASE_URL },
    google: { apiKey: config.GOOGLE_API_KEY, baseUrl: config.GOOGLE_BASE_URL },
  };
  return {
    kind: provider,
    model: config.LLM_MODEL,
    timeoutMs: config.LLM_TIMEOUT_SECONDS * 1000,
    ...access[provider],
  };
}

/** undefined without ENCRYPTION_KEY. Derives each key, which takes about 0.2 s. Throws like `openKeyring`. */
export async function knownKeysOf(config: Config): Promise<KnownKeys | undefined> {
  const source = await keyringSourceOf(config);
  if (source === undefined) return undefined;
  const keyring = keysOf(source)();
  return { knownKeys: await keyring.marks(), primaryVersion: keyring.primaryVersion };
}

export function startSchedulerRole(context: RoleContext): void {
  const { config, database, queues, lifecycle } = context;
  const log = createLogger({ level: config.LOG_LEVEL, role: 'scheduler' });
  const service = startScheduler({
    sql: database.system,
    ...queues,
    log,
    watchdog: watchForStalls(lifecycle, log),
    metrics: createMetrics(),
    leaseMs: config.PURSER_LEASE_MS,
    reconcileAfterMs,
    // Of a database that was migrated with more built-in job types than run now.
    excludedJobTypes: disabledBuiltins(config.PURSER_BUILTINS),
    more: [{ kind: 'stale_upload', run: removeStaleUploads }],
    process: { ...thisProcess('scheduler'), ...context.keys },
  });
  lifecycle.opened('scheduler', () => service.stop());
}

/** The first heartbeat, under the identity that `startWorkerRole` is given. */
export async function announceWorker(
  { config, keys }: Pick<RoleContext, 'config' | 'keys'>,
  { executors, metrics, identity }: WorkerParts,
  sql: Queryable,
): Promise<void> {
  await writeWorkerHeartbeat(
    sql,
    {
      executors,
      metrics,
      concurrency: config.WORKER_CONCURRENCY,
      process: { ...identity, ...keys },
    },
    { running: 0, progressedAt: new Date() },
  );
}

export function startWorkerRole(
  context: RoleContext,
  { executors, metrics, identity }: WorkerParts,
  shutdownGraceMs = 20_000,
): void {
  const { config, database, queues, lifecycle } = context;
  const log = createLogger({ level: config.LOG_LEVEL, role: 'worker' });
  const service = startWorker({
    database,
    executors,
    ...queues,
    log,
    watchdog: watchForStalls(lifecycle, log),
    metrics,
    leaseMs: config.PURSER_LEASE_MS,
    graceMs: handlerGraceMs,
    concurrency: config.WORKER_CONCURRENCY,
    begunAhead: config.WORKER_BEGUN_AHEAD,
    shutdownGraceMs,
    process: { ...identity, ...context.keys },
    onThreadStuck: (text) => lifecycle.requestStop(`a thread is stuck: ${text}`, { byForce: true }),
  });
  lifecycle.opened('worker', () => service.stop());
}

export interface WebAddress {
  readonly port: number;
  readonly user: string;
  /** Set only when the password was generated for this start. */
  readonly generatedPassword: string | undefined;
}

/** Outside production a missing password is generated for this start and returned. */
export async function startWebRole(
  context: RoleContext,
  listening: { readonly port: number; readonly door?: Door | undefined },
): Promise<WebAddress> {
  const { config, database, queues, lifecycle } = context;
  const generatedPassword =
    config.DASHBOARD_PASSWORD === undefined ? randomBytes(12).toString('base64url') : undefined;
  const user = config.DASHBOARD_USER ?? 'operator';
  const log = createLogger({ level: config.LOG_LEVEL, role: 'web' });
  const service = await startWeb({
    database,
    ...queues,
    jobTypes: () => listJobTypes(database.system),
    trustedProxies: config.TRUSTED_PROXIES,
    credentials: { user, password: config.DASHBOARD_PASSWORD ?? generatedPassword ?? '' },
    metrics: createMetrics(),
    log,
    watchdog: watchForStalls(lifecycle, log),
    version,
    keys: context.keys,
    ...listening,
  });
  lifecycle.opened('web', () => service.stop());
  return { port: service.port, user, generatedPassword };
}
