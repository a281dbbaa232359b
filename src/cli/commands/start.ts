/** `purser start scheduler|worker|web|all`: a role that runs until it is told to stop. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../../config.ts';
import { startEmbeddedPostgres } from '../../db/embedded/embedded.ts';
import { exitCodes, UsageError } from '../../errors.ts';
import { Lifecycle, stopOnSignals } from '../../process/lifecycle.ts';
import { createLogger } from '../../log.ts';
import type { Logger } from '../../log.ts';
import { watchMainThread } from '../../process/main-thread-watch.ts';
import type { Command, Invocation } from '../terminal/command.ts';
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

/** A role whose queue store is away starts all the same, and says so in its log. */
const connectWithinMs = 3_000;

function rolesOf(word: string): readonly RoleName[] {
  if (word === 'all') return roleNames;
  const role = roleNames.find((name) => name === word);
  if (role === undefined) {
    throw new UsageError(`there is no role "${word}"; use ${roleNames.join(', ')} or all`);
  }
  return [role];
}

/** `start all` may bring its own database; every other role needs DATABASE_URL. */
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

/** Opens what the roles need and starts them; a stop that was asked for meanwhile starts no further one. */
async function startRoles(
  invocation: Invocation,
  given: Config,
  word: string,
  lifecycle: Lifecycle,
  log: Logger,
): Promise<void> {
  const roles = rolesOf(word);
  const config = await withDatabaseUrl(given, word === 'all', lifecycle, invocation.note);
  const works = roles.includes('worker');
  const database = await openServiceDatabase(config, lifecycle, {
    name: word,
    systemConnections: roles.reduce((sum, role) => sum + systemConnections[role], 0),
    tenantThreads: works,
  });
  const llm = llmProviderOf(config);
  const parts = works ? await openWorkerParts(config, lifecycle, { database, llm }) : undefined;
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

/** How long a start that is not wanted any more may take, so that what it opens is closed in order. */
const unwantedStartMs = 3_000;

async function run(invocation: Invocation): Promise<number> {
  const word = invocation.positionals[0] ?? '';
  rolesOf(word);
  const given = invocation.config();
  const log = createLogger({ level: given.LOG_LEVEL, role: word });
  const lifecycle = new Lifecycle(log);
  // No handler runs in this thread. A library's stray promise is no reason to drop all that runs; a throw that
  // nobody caught leaves nobody knows what, and the leases bring its jobs back.
  process.on('unhandledRejection', (error) => log.error({ error }, 'unhandled_rejection'));
  process.on('uncaughtException', (error) => {
    log.fatal({ error }, 'uncaught_exception');
    process.exit(exitCodes.failed);
  });
  // For the rest of the process's life: a second signal must not end it by force while it is leaving.
  stopOnSignals(lifecycle);
  watchMainThread({ role: word, log });
  try {
    const starting = startRoles(invocation, given, word, lifecycle, log).catch((error: unknown) => {
      // A service that is away (connecting to it, say) no longer matters to who leaves.
      if (!lifecycle.stopSignal.aborted) throw error;
      log.warn({ error }, 'start_ended');
    });
    await Promise.race([starting, lifecycle.untilStopped()]);
    await Promise.race([starting, sleep(unwantedStartMs, undefined, { ref: false })]);
    await lifecycle.untilStopped();
  } finally {
    await lifecycle.close();
  }
  // An exit waits for every thread, and this one waits for no one.
  if (lifecycle.byForce) process.kill(process.pid, 'SIGKILL');
  // At once: while Node takes itself apart it no longer listens, and a signal would end it by force.
  process.exit(lifecycle.exitCode);
}

export const startCommands: readonly Command[] = [
  {
    path: 'start',
    summary: 'run a role until SIGTERM: scheduler, worker, web, or all of them in one process',
    positionals: [{ name: 'ROLE', help: 'scheduler, worker, web or all', required: true }],
    run,
  },
];
