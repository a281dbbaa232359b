/** All commands, in the order of the help. */
import { accountCommands } from './accounts.ts';
import { budgetCommands } from './budget.ts';
import type { Command } from './command.ts';
import { demoCommands } from './demo.ts';
import { dlqCommands } from './dlq.ts';
import { doctorCommands } from './doctor.ts';
import { enqueueCommands } from './enqueue.ts';
import { handlerCommands } from './handlers.ts';
import { ingestCommands } from './ingest.ts';
import { jobCommands } from './jobs.ts';
import { keyCommands } from './keys.ts';
import { migrateCommands } from './migrate.ts';
import { pauseCommands } from './pause.ts';
import { startCommands } from './start.ts';
import { tenantCommands } from './tenants.ts';

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
  ...budgetCommands,
  ...handlerCommands,
  ...keyCommands,
  ...doctorCommands,
];
