/**
 * All commands, by the first word of each, in the order of the help. A process loads the code of the command that it
 * was started with and of no other, because loading all of it takes longer than most commands.
 */
import type { Command } from './terminal/command.ts';

type Load = () => Promise<readonly Command[]>;

const pauses: Load = async () => (await import('./commands/pause.ts')).pauseCommands;

const workers: Load = async () => (await import('./commands/fleet/workers.ts')).workerCommands;

const byFirstWord = new Map<string, Load>([
  ['demo', async () => (await import('./demo/demo.ts')).demoCommands],
  ['migrate', async () => (await import('./commands/migrate.ts')).migrateCommands],
  ['start', async () => (await import('./commands/start.ts')).startCommands],
  ['tenants', async () => (await import('./commands/tenants.ts')).tenantCommands],
  ['accounts', async () => (await import('./commands/accounts.ts')).accountCommands],
  ['ingest', async () => (await import('./commands/ingest.ts')).ingestCommands],
  ['enqueue', async () => (await import('./commands/enqueue.ts')).enqueueCommands],
  ['why', async () => (await import('./commands/why/why.ts')).whyCommands],
  ['jobs', async () => (await import('./commands/jobs.ts')).jobCommands],
  ['dlq', async () => (await import('./commands/dlq.ts')).dlqCommands],
  ['pause', pauses],
  ['resume', pauses],
  ['pauses', pauses],
  ['audit', async () => (await import('./commands/audit/audit.ts')).auditCommands],
  ['stop', async () => (await import('./commands/fleet/stop.ts')).stopCommands],
  ['workers', workers],
  ['drain', workers],
  ['limits', async () => (await import('./commands/limits.ts')).limitCommands],
  ['schedules', async () => (await import('./commands/schedules/commands.ts')).scheduleCommands],
  ['queues', async () => (await import('./commands/queues.ts')).queueCommands],
  ['budget', async () => (await import('./commands/budget.ts')).budgetCommands],
  ['scopes', async () => (await import('./commands/scopes.ts')).scopeCommands],
  [
    'llm',
    async () => [
      ...(await import('./commands/llm/stops.ts')).stopCommands,
      ...(await import('./commands/llm/breakers.ts')).breakerCommands,
      ...(await import('./commands/llm/own-keys.ts')).ownKeyCommands,
    ],
  ],
  ['fleet-scopes', async () => (await import('./commands/fleet-scopes.ts')).fleetScopeCommands],
  ['prices', async () => (await import('./commands/prices/commands.ts')).priceCommands],
  ['handlers', async () => (await import('./commands/handlers.ts')).handlerCommands],
  ['keys', async () => (await import('./commands/keys.ts')).keyCommands],
  [
    'operators',
    async () => [
      ...(await import('./commands/access/operators.ts')).operatorCommands,
      ...(await import('./commands/access/sessions.ts')).sessionCommands,
    ],
  ],
  ['tokens', async () => (await import('./commands/access/tokens.ts')).tokenCommands],
  ['doctor', async () => (await import('./doctor/doctor.ts')).doctorCommands],
]);

const startsWith = (word: string) => (command: Command) => command.path.split(' ')[0] === word;

/** The commands that begin with this word; none where no command does. */
export async function commandsOf(word: string): Promise<readonly Command[]> {
  const group = await byFirstWord.get(word)?.();
  return group?.filter(startsWith(word)) ?? [];
}

/** Loads the code of every command. */
export async function allCommands(): Promise<readonly Command[]> {
  return (await Promise.all([...byFirstWord.keys()].map(commandsOf))).flat();
}
