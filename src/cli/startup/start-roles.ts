/**
 * Opens the parts of the roles of a process and starts the roles. Everything that takes time is a step of the registry
 * (steps.ts) and goes through its runner: this file awaits nothing else.
 */
import type { Config } from '../../config.ts';
import { operatorLockTimeoutMs } from '../../db/locks/holders.ts';
import { registerJobTypes } from '../../jobs/registration.ts';
import type { Logger } from '../../log.ts';
import type { Lifecycle } from '../../process/lifecycle.ts';
import { openDoor } from '../../web/door.ts';
import { embedDatabase } from '../runtime/embed-database.ts';
import {
  announceWorker,
  knownKeysOf,
  llmProviderOf,
  startSchedulerRole,
  startWebRole,
  startWorkerRole,
  systemConnections,
} from '../runtime/roles.ts';
import type { RoleContext } from '../runtime/roles.ts';
import { databaseUrl, openQueues, openServiceDatabase } from '../runtime/services.ts';
import { openWorkerParts, ownJobTypes } from '../runtime/worker-parts.ts';
import type { WorkerParts } from '../runtime/worker-parts.ts';
import { checkQueueUse } from '../runtime/shared-queues.ts';
import type { Invocation } from '../terminal/command.ts';
import { startupRunner } from './run-steps.ts';
import type { RunStep } from './run-steps.ts';
import type { RoleName, StepName } from './steps.ts';

export interface Start {
  readonly invocation: Pick<Invocation, 'note'>;
  /** The role as the operator wrote it: one of them, or all. */
  readonly word: string;
  readonly roles: readonly RoleName[];
  readonly lifecycle: Lifecycle;
  readonly log: Logger;
}

/** A role starts even when its queue store cannot be reached within this time; its log says so. */
const connectWithinMs = 3_000;

/** Throws `StartStopped` after a stop signal, `login_refused` (exit 78), and what the parts throw. */
export async function startRoles(start: Start, given: Config): Promise<void> {
  const { invocation, word, roles, lifecycle, log } = start;
  const embeds = mayEmbed(start, given);
  let current: StepName = 'listen';
  const step = startupRunner({
    log,
    stopSignal: lifecycle.stopSignal,
    variables: { database: 'DATABASE_URL', queue_store: queueVariable(given) },
    onStep: (name) => {
      current = name;
    },
  });
  const door = roles.includes('web')
    ? await step('listen', () => openDoor({ port: given.PORT, startsWith: () => current }))
    : undefined;
  if (door !== undefined) lifecycle.opened('port', () => door.close());
  const config = embeds
    ? await step('start_embedded_database', () => embedDatabase(given, lifecycle, invocation.note))
    : given;
  const runsWorker = roles.includes('worker');
  const database = await openServiceDatabase(
    config,
    lifecycle,
    {
      name: word,
      systemConnections: roles.reduce((sum, role) => sum + systemConnections[role], 0),
      tenantThreads: runsWorker,
      // Its one connection serves pages and heartbeats. The statements of the others have their own limits.
      ...(word === 'web' ? { lockTimeoutMs: operatorLockTimeoutMs } : {}),
    },
    step,
  );
  const llm = llmProviderOf(config);
  const parts = runsWorker
    ? await step('load_handlers', () => openWorkerParts(config, lifecycle, { database, llm }))
    : undefined;
  const own = parts === undefined ? [] : ownJobTypes(parts);
  if (own.length > 0) {
    await step('register_job_types', (signal) =>
      database.once(signal, (sql) => registerJobTypes(sql, own)),
    );
  }
  const queues = openQueues(config, lifecycle, {
    database,
    workers: parts?.executors.jobTypes.size ?? 0,
    name: word,
    log,
  });
  await step('connect_queue_store', () => queues.backend.ready(connectWithinMs));
  await step('check_queue_use', (signal) =>
    checkQueueUse({ backend: queues.backend, sql: database.system, signal }, log),
  );
  const keys = await step('read_keys', () => knownKeysOf(config));
  const context = { config, lifecycle, database, queues, keys };
  if (roles.includes('scheduler')) await step('start_scheduler', () => startSchedulerRole(context));
  if (parts !== undefined) await startWorkerSteps(context, parts, step);
  if (door !== undefined) {
    const web = await step('serve', () => startWebRole(context, { port: door.port, door }));
    invocation.note(`dashboard: http://127.0.0.1:${web.port}/  login: ${web.user}`);
    if (web.generatedPassword !== undefined) {
      invocation.note(
        `password for this start: ${web.generatedPassword}  (set DASHBOARD_PASSWORD)`,
      );
    }
  }
  invocation.note(
    `purser ${word} is running (tenancy ${database.level}, queues in ${queues.backend.kind})`,
  );
}

async function startWorkerSteps(
  context: RoleContext,
  parts: WorkerParts,
  step: RunStep,
): Promise<void> {
  await step('announce_worker', (signal) =>
    context.database.once(signal, (sql) => announceWorker(context, parts, sql)),
  );
  await step('start_worker', () => startWorkerRole(context, parts));
}

/** The variable with the address of the queue store. */
function queueVariable(config: Config): string {
  if (config.REDIS_URL !== undefined) return 'REDIS_URL';
  return config.DATABASE_DIRECT_URL === undefined ? 'DATABASE_URL' : 'DATABASE_DIRECT_URL';
}

/** `start all` may start an embedded database; every other role needs DATABASE_URL. */
function mayEmbed({ word }: Start, config: Config): boolean {
  if (config.DATABASE_URL === undefined && word === 'all' && config.ENVIRONMENT !== 'production')
    return true;
  databaseUrl(config);
  return false;
}
