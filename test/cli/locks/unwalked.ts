/** What the walk of commands leaves out. */

/** Commands that are not walked here, and why. */
export const otherCommands: Readonly<Record<string, string>> = {
  demo: 'starts a fleet, whose statements test/scheduler/tenant-locks walks',
  start: 'starts a fleet, whose statements test/scheduler/tenant-locks walks',
  'handlers new': 'uses no database',
  'handlers list': 'uses no database',
  'keys generate-salt': 'uses no database',
  'keys generate-key': 'uses no database',
  'migrate up': 'test/db/locks/migrate walks it',
  'migrate down': 'test/db/locks/migrate walks it',
};

/** Functions for programs, whose caller's connection has the lock timeout, and parts of migrations. */
export const walkedElsewhere: readonly string[] = [
  'db/locks/migration.ts lockMigrations',
  'db/migrate.ts migrateDown',
  'db/migrate.ts migrateUp',
  'jobs/enqueue.ts enqueueGathered',
  'jobs/enqueue.ts enqueueMany',
  'schedules/defaults.ts addMissingSchedules',
];
