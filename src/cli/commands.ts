/** All commands, in the order of the help. */
import { accountCommands } from './commands/accounts.ts';
import { budgetCommands } from './commands/budget.ts';
import type { Command } from './terminal/command.ts';
import { demoCommands } from './demo/demo.ts';
import { dlqCommands } from './commands/dlq.ts';
import { doctorCommands } from './doctor/doctor.ts';
import { enqueueCommands } from './commands/enqueue.ts';
import { handlerCommands } from './commands/handlers.ts';
import { ingestCommands } from './commands/ingest.ts';
import { jobCommands } from './commands/jobs.ts';
import { keyCommands } from './commands/keys.ts';
import { migrateCommands } from './commands/migrate.ts';
import { pauseCommands } from './commands/pause.ts';
import { queueCommands } from './commands/queues.ts';
import { startCommands } from './commands/start.ts';
import { tenantCommands } from './commands/tenants.ts';

export const commands: readonly Command[] = [
  ...demoCommands,
  ...migrateCommands,
  ...startCommands,
  ...tenantCommands,
  ...accountCommands,
  ...ingestCommands,
  ...enqueueCommands,
  ...jobCommands,
  ...dlqCommands,
  ...pauseCommands,
  ...queueCommands,
  ...budgetCommands,
  ...handlerCommands,
  ...keyCommands,
  ...doctorCommands,
];
