/**
 * Opens the parts of the roles of a process and starts the roles. Everything that takes time is a step of the registry
 * (steps.ts) and goes through its runner: this file awaits nothing else.
 */
import type { Config } from '../../config.ts';
import { operatorLockTimeoutMs } from '../../db/locks/holders.ts';
import type { Logger } from '../../log.ts';
import type { Lifecycle } from '../../process/lifecycle.ts';
import { queueVariable } from '../runtime/database-options.ts';
import { knownKeysOf, systemConnections } from '../runtime/roles.ts';
import type { RoleContext } from '../runtime/roles.ts';
import { registerOwn } from '../runtime/register-own.ts';
import { connectQueues, openQueues, openServiceDatabase } from '../runtime/services.ts';
import type { WorkerParts } from '../runtime/worker-parts.ts';
import { checkQueueUse } from '../runtime/shared-queues.ts';
import type { Invocation } from '../terminal/command.ts';
import { announceRunning, waitingText } from './announce.ts';
import type { RoleCode } from './role-code.ts';
import { startupRunner } from './run-steps.ts';
import type { RunStep } from './run-steps.ts';
import type { RoleName, StepName } from './steps.ts';

export interface Start {
  readonly invocation: Pick<Invocation, 'note'>;
  /** The role as the operator wrote it: one of them, or all. */
  readonly word: string;
  readonly roles: readonly RoleName[];
  /** Of these roles. */
  readonly code: RoleCode;
  readonly lifecycle: Lifecycle;
  readonly log: Logger;
}

/** A role starts even when its queue store cannot be reached within this time; its log says so. */
const connectWithinMs = 3_000;

/** Throws `StartStopped` after a stop signal, `login_refused` (exit 78), and what the parts throw. */
export async function startRoles(start: Start, given: Config): Promise<void> {
  const { invocation, word, roles, lifecycle, log } = start;
  const { scheduler, worker, web, embedded } = start.code;
  let current: StepName = 'listen';
  const step = startupRunner({
    log,
    stopSignal: lifecycle.stopSignal,
    variables: { database: 'DATABASE_URL', queue_store: queueVariable(given) },
    onStep: (name) => {
      current = name;
    },
    onWait: (variable, error) => invocation.note(waitingText(word, given, variable, error)),
  });
  const door =
    web === undefined
      ? undefined
      : await step('listen', () => web.openDoor({ port: given.PORT, startsWith: () => current }));
  if (door !== undefined) lifecycle.opened('port', () => door.close());
  const config =
    embedded === undefined
      ? given
      : await step('start_embedded_database', () =>
          embedded.embedDatabase(given, lifecycle, invocation.note),
        );
  const database = await openServiceDatabase(
    config,
    lifecycle,
    {
      name: word,
      systemConnections: roles.reduce((sum, role) => sum + systemConnections[role], 0),
      tenantThreads: worker !== undefined,
      // Its one connection serves pages and heartbeats. The statements of the others have their own limits.
      ...(word === 'web' ? { lockTimeoutMs: operatorLockTimeoutMs } : {}),
    },
    step,
  );
  const parts =
    worker === undefined
      ? undefined
      : await step('load_handlers', () =>
          worker.openWorkerParts(config, lifecycle, {
            database,
            llm: worker.llmProviderOf(config),
          }),
        );
  const own = worker === undefined || parts === undefined ? [] : worker.ownJobTypes(parts);
  if (own.length > 0) {
    await step('register_job_types', (signal) =>
      database.once(signal, (sql) => registerOwn(sql, own)),
    );
  }
  const queues = openQueues(config, lifecycle, {
    database,
    workers: parts?.executors.jobTypes.size ?? 0,
    name: word,
    log,
  });
  await step('connect_queue_store', () =>
    connectQueues(config, queues, { name: word, withinMs: connectWithinMs }),
  );
  await step('check_queue_use', (signal) =>
    checkQueueUse({ backend: queues.backend, sql: database.system, signal }, log),
  );
  const keys = await step('read_keys', () => knownKeysOf(config));
  const context = { config, lifecycle, database, queues, keys };
  if (scheduler !== undefined) {
    await step('start_scheduler', () => scheduler.startSchedulerRole(context));
  }
  if (worker !== undefined && parts !== undefined) {
    await startWorkerSteps(worker, context, parts, step);
  }
  if (web !== undefined && door !== undefined) {
    const served = await step('serve', () => web.startWebRole(context, { port: door.port, door }));
    invocation.note(`dashboard: http://127.0.0.1:${served.port}/  login: ${served.user}`);
    if (served.generatedPassword !== undefined) {
      invocation.note(
        `password for this start: ${served.generatedPassword}  (set DASHBOARD_PASSWORD)`,
      );
    }
  }
  void announceRunning({
    backend: queues.backend,
    stopSignal: lifecycle.stopSignal,
    note: invocation.note,
    running: `purser ${word} is running (tenancy ${database.level}, queues in ${queues.backend.kind})`,
    waiting: (error) => waitingText(word, config, queueVariable(config), error),
  });
}

async function startWorkerSteps(
  worker: NonNullable<RoleCode['worker']>,
  context: RoleContext,
  parts: WorkerParts,
  step: RunStep,
): Promise<void> {
  await step('announce_worker', (signal) =>
    context.database.once(signal, (sql) => worker.announceWorker(context, parts, sql)),
  );
  await step('start_worker', () => worker.startWorkerRole(context, parts));
}
