/** `purser start scheduler|worker|web|all`: runs a role until SIGTERM or SIGINT. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isNpmScript } from '../../config.ts';
import { exitCodes, UsageError } from '../../errors.ts';
import { Lifecycle, signalsHandled, stopOnSignals } from '../../process/lifecycle.ts';
import { createLogger } from '../../log.ts';
import { stopWithParent } from '../../process/parent-watch.ts';
import { watchMainThread } from '../../process/main-thread-watch.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { ignoreOutputErrors } from '../terminal/output.ts';
import { loadRoleCode } from '../startup/role-code.ts';
import { roleNames } from '../startup/steps.ts';
import type { RoleName } from '../startup/steps.ts';
import { StartStopped } from '../startup/run-steps.ts';

function rolesOf(word: string): readonly RoleName[] {
  if (word === 'all') return roleNames;
  const role = roleNames.find((name) => name === word);
  if (role === undefined) {
    throw new UsageError(`there is no role "${word}"; use ${roleNames.join(', ')} or all`);
  }
  return [role];
}

/** After a stop signal, a start still in progress gets this long, so that everything it opened is closed in order. */
const abandonedStartMs = 3_000;

async function run(invocation: Invocation): Promise<number> {
  const word = invocation.positionals[0] ?? '';
  const roles = rolesOf(word);
  const given = invocation.config();
  const code = await loadRoleCode(word, roles, given);
  const { startRoles } = await import('../startup/start-roles.ts');
  // A signal that arrived while the code was loading ends the process here, before it opens anything.
  await signalsHandled();
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
  if (isNpmScript()) stopWithParent(lifecycle);
  watchMainThread({ role: word, log });
  try {
    const starting = startRoles({ invocation, word, roles, code, lifecycle, log }, given).catch(
      (error: unknown) => {
        // During a stop an unreachable service no longer matters.
        if (!lifecycle.stopSignal.aborted) throw error;
        if (!(error instanceof StartStopped)) log.warn({ error }, 'start_ended');
      },
    );
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
