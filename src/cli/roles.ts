/**
 * The three roles as `start` and `demo` run them: each opens what it needs, registers its closing, and is
 * otherwise on its own.
 */
import { randomBytes } from 'node:crypto';
import type { Config } from '../config.ts';
import type { Database } from '../db/database.ts';
import { exitCodes } from '../errors.ts';
import { removeStaleUploads } from '../handlers/uploads.ts';
import type { HandlerRegistry } from '../handlers/index.ts';
import { listJobTypes } from '../jobs/registration.ts';
import type { Lifecycle } from '../lifecycle.ts';
import type { LlmProviderConfig } from '../llm/create-llm.ts';
import { createLlm } from '../llm/create-llm.ts';
import { createLogger } from '../log.ts';
import { createMetrics } from '../metrics.ts';
import { startScheduler } from '../scheduler/scheduler.ts';
import { startWeb } from '../web/web.ts';
import { defaultBackoff } from '../worker/backoff.ts';
import { RunningJobs } from '../worker/running-jobs.ts';
import { startWorker } from '../worker/worker.ts';
import type { Queues } from './services.ts';
import { thisProcess } from './services.ts';
import { version } from './version.ts';

export const roleNames = ['scheduler', 'worker', 'web'] as const;
export type RoleName = (typeof roleNames)[number];

export interface RoleContext {
  readonly config: Config;
  readonly lifecycle: Lifecycle;
  readonly database: Database;
  readonly queues: Queues;
  readonly registry: HandlerRegistry;
  readonly llm: LlmProviderConfig;
}

/** Connections of a role: system pool and tenant pool. BullMQ's own come on top, see docs/deployment.md. */
export const roleConnections: Readonly<Record<RoleName, { system: number; tenant: number }>> = {
  scheduler: { system: 2, tenant: 0 },
  worker: { system: 3, tenant: 3 },
  web: { system: 2, tenant: 0 },
};

const leaseMs = 15_000;
const reconcileAfterMs = 10_000;

/** Who answers `ctx.llm`: the configured provider, else the offline analyst. */
export function llmProviderOf(config: Config): LlmProviderConfig {
  const provider =
    config.LLM_PROVIDER ?? (config.OPENAI_API_KEY === undefined ? 'offline' : 'openai');
  if (provider === 'offline') return { kind: 'offline' };
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

export function startSchedulerRole(context: RoleContext): void {
  const { config, database, queues, lifecycle } = context;
  const service = startScheduler({
    sql: database.system,
    ...queues,
    log: createLogger({ level: config.LOG_LEVEL, role: 'scheduler' }),
    metrics: createMetrics(),
    leaseMs,
    reconcileAfterMs,
    more: [{ kind: 'stale_upload', run: removeStaleUploads }],
    process: thisProcess('scheduler'),
  });
  lifecycle.opened('scheduler', () => service.stop());
}

export async function startWorkerRole(
  context: RoleContext,
  shutdownGraceMs = 20_000,
): Promise<void> {
  const { config, database, queues, lifecycle, registry } = context;
  const metrics = createMetrics();
  const self = thisProcess('worker');
  const log = createLogger({ level: config.LOG_LEVEL, role: 'worker' });
  // A promise that a handler forgot to wait for must not end the process, and every neighbour's attempt with it.
  const unheard = (error: unknown): void => log.error({ error }, 'unhandled_rejection');
  process.on('unhandledRejection', unheard);
  lifecycle.opened('unhandled rejections', async () => {
    process.off('unhandledRejection', unheard);
    await Promise.resolve();
  });
  const service = await startWorker({
    database,
    registry,
    backend: queues.backend,
    llm: createLlm({ provider: context.llm, budgetSql: database.system, metrics }),
    log,
    metrics,
    workerId: self.processId,
    leaseMs,
    graceMs: 1_000,
    backoff: defaultBackoff,
    running: new RunningJobs(),
    concurrency: config.WORKER_CONCURRENCY,
    shutdownGraceMs,
    process: self,
  });
  lifecycle.opened('worker', () => service.stop());
  // A throw from a handler's timer leaves the process in nobody knows what state. Its jobs come back when their
  // leases pass, each counted as a loss, so that one which does this every time comes to an end.
  const fatal = (error: unknown): void => {
    log.fatal({ error }, 'uncaught_exception');
    process.exit(exitCodes.failed);
  };
  process.once('uncaughtException', fatal);
  lifecycle.opened('uncaught exceptions', async () => {
    process.off('uncaughtException', fatal);
    await Promise.resolve();
  });
}

export interface WebAddress {
  readonly port: number;
  readonly user: string;
  /** Only where it was made for this start. */
  readonly generatedPassword: string | undefined;
}

/** Outside production a missing password is made for this start, and said. */
export async function startWebRole(context: RoleContext, port: number): Promise<WebAddress> {
  const { config, database, queues, lifecycle } = context;
  const generatedPassword =
    config.DASHBOARD_PASSWORD === undefined ? randomBytes(12).toString('base64url') : undefined;
  const user = config.DASHBOARD_USER ?? 'operator';
  const service = await startWeb({
    database,
    ...queues,
    jobTypes: () => listJobTypes(database.system),
    credentials: { user, password: config.DASHBOARD_PASSWORD ?? generatedPassword ?? '' },
    metrics: createMetrics(),
    log: createLogger({ level: config.LOG_LEVEL, role: 'web' }),
    version,
    port,
  });
  lifecycle.opened('web', () => service.stop());
  return { port: service.port, user, generatedPassword };
}
