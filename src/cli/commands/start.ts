/** `purser start scheduler|worker|web|all`: runs a role until SIGTERM or SIGINT. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../../config.ts';
import { startEmbeddedPostgres } from '../../db/embedded/embedded.ts';
import { exitCodes, UsageError } from '../../errors.ts';
import { Lifecycle, stopOnSignals } from '../../process/lifecycle.ts';
import { createLogger } from '../../log.ts';
import type { Logger } from '../../log.ts';
import { watchMainThread } from '../../process/main-thread-watch.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { ignoreOutputErrors } from '../terminal/output.ts';
import { prepareDatabase, prepareOptionsOf } from '../runtime/prepare-database.ts';
import {
  knownKeysOf,
  llmProviderOf,
  roleNames,
  startSchedulerRole,
  startWebRole,
  startWorkerRole,
  systemConnections,
} from '../runtime/roles.ts';
import type { RoleName } from '../runtime/roles.ts';
import { databaseUrl, openQueues, openServiceDatabase } from '../runtime/services.ts';
import { openWorkerParts } from '../runtime/worker-parts.ts';

/** A role starts even when its queue store cannot be reached within this time; its log says so. */
const connectWithinMs = 3_000;

function rolesOf(word: string): readonly RoleName[] {
  if (word === 'all') return roleNames;
  const role = roleNames.find((name) => name === word);
  if (role === undefined) {
    throw new UsageError(`there is no role "${word}"; use ${roleNames.join(', ')} or all`);
  }
  return [role];
}

/** `start all` may start an embedded database; every other role needs DATABASE_URL. */
async function withDatabaseUrl(
  config: Config,
  all: boolean,
  lifecycle: Lifecycle,
  note: (line: string) => void,
): Promise<Config> {
  if (config.DATABASE_URL !== undefined || !all || config.ENVIRONMENT === 'production') {
    databaseUrl(config);
    return config;
  }
  const embedded = await startEmbeddedPostgres({ dataDir: config.PURSER_DATA_DIR });
  lifecycle.opened('embedded Postgres', () => embedded.stop());
  note(embedded.description);
  await prepareDatabase(prepareOptionsOf(config, embedded.url));
  return { ...config, DATABASE_URL: embedded.url };
}

/** Opens the services of the roles, then starts the roles. After a stop signal no further role is started. */
async function startRoles(
  invocation: Invocation,
  given: Config,
  word: string,
  lifecycle: Lifecycle,
  log: Logger,
): Promise<void> {
  const roles = rolesOf(word);
  const config = await withDatabaseUrl(given, word === 'all', lifecycle, invocation.note);
  const runsWorker = roles.includes('worker');
  const database = await openServiceDatabase(config, lifecycle, {
    name: word,
    systemConnections: roles.reduce((sum, role) => sum + systemConnections[role], 0),
    tenantThreads: runsWorker,
  });
  const llm = llmProviderOf(config);
  const parts = runsWorker
    ? await openWorkerParts(config, lifecycle, { database, llm })
    : undefined;
  const queues = openQueues(config, lifecycle, {
    database,
    workers: parts?.executors.jobTypes.size ?? 0,
    name: word,
    log,
  });
  await queues.backend.ready(connectWithinMs);
  const context = { config, lifecycle, database, queues, keys: await knownKeysOf(config) };
  if (!lifecycle.stopSignal.aborted && roles.includes('scheduler')) startSchedulerRole(context);
  if (!lifecycle.stopSignal.aborted && parts !== undefined) await startWorkerRole(context, parts);
  if (!lifecycle.stopSignal.aborted && roles.includes('web')) {
    const web = await startWebRole(context, config.PORT);
    invocation.note(`dashboard: http://127.0.0.1:${web.port}/  login: ${web.user}`);
    if (web.generatedPassword !== undefined) {
      invocation.note(
        `password for this start: ${web.generatedPassword}  (set DASHBOARD_PASSWORD)`,
      );
    }
  }
  if (lifecycle.stopSignal.aborted) return;
  invocation.note(
    `purser ${word} is running (tenancy ${database.level}, queues in ${queues.backend.kind})`,
  );
}

/** After a stop signal, a start still in progress gets this long, so that everything it opened is closed in order. */
const abandonedStartMs = 3_000;

async function run(invocation: Invocation): Promise<number> {
  const word = invocation.positionals[0] ?? '';
  rolesOf(word);
  const given = invocation.config();
  const log = createLogger({ level: given.LOG_LEVEL, role: word });
  const lifecycle = new Lifecycle(log);
  ignoreOutputErrors();
  // No handler runs in this thread, so an unhandled rejection is only logged. After an uncaught exception the state
  // is unknown: the process exits, and its leases expire.
  process.on('unhandledRejection', (error) => log.error({ error }, 'unhandled_rejection'));
  process.on('uncaughtException', (error) => {
    log.fatal({ error }, 'uncaught_exception');
    process.exit(exitCodes.failed);
  });
  // Installed until the process exits: a second signal must not interrupt an orderly stop.
  stopOnSignals(lifecycle);
  watchMainThread({ role: word, log });
  try {
    const starting = startRoles(invocation, given, word, lifecycle, log).catch((error: unknown) => {
      // During a stop an unreachable service no longer matters.
      if (!lifecycle.stopSignal.aborted) throw error;
      log.warn({ error }, 'start_ended');
    });
    await Promise.race([starting, lifecycle.untilStopped()]);
    await Promise.race([starting, sleep(abandonedStartMs, undefined, { ref: false })]);
    await lifecycle.untilStopped();
  } finally {
    await lifecycle.close();
  }
  // process.exit() waits for every thread; a stuck thread would never let it return.
  if (lifecycle.byForce) process.kill(process.pid, 'SIGKILL');
  // Exit now: during Node's own shutdown the signal handlers are gone, and a second signal would kill the process.
  process.exit(lifecycle.exitCode);
}

export const startCommands: readonly Command[] = [
  {
    path: 'start',
    summary: 'run a role until SIGTERM: scheduler, worker, web, or all three in one process',
    positionals: [{ name: 'ROLE', help: 'scheduler, worker, web or all', required: true }],
    run,
  },
];
