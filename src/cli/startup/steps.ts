/**
 * The start-up steps of every role: the only registry, in the order in which they run. A step runs only through the
 * runner (run-steps.ts), by its name; test/cli/startup walks all of them through every fault of their stores.
 */
export const roleNames = ['scheduler', 'worker', 'web'] as const;
export type RoleName = (typeof roleNames)[number];

export type Store = 'database' | 'queue_store';

export interface StartupStep {
  readonly roles: readonly RoleName[];
  /** What the step waits for; none: it fails or ends by itself. */
  readonly stores: readonly Store[];
  /** A read-only database holds the step up. */
  readonly writes?: true;
  /** Without its store the start goes on after a moment: the loops of the role wait for the store by themselves. */
  readonly goesOn?: true;
  /** Runs only where the configuration asks for it. */
  readonly optional?: true;
}

export const startupSteps = {
  /** First, so that a router is not refused while the process waits for a store: `/readyz` says 503. */
  listen: { roles: ['web'], stores: [] },
  /** Only of `start all` without DATABASE_URL. */
  start_embedded_database: { roles: roleNames, stores: [], optional: true },
  connect_database: { roles: roleNames, stores: ['database'] },
  check_migrations: { roles: roleNames, stores: ['database'] },
  load_handlers: { roles: ['worker'], stores: [] },
  /** Only with PURSER_HANDLERS: `migrate` registers the built-in types. */
  register_job_types: {
    roles: ['worker'],
    stores: ['database'],
    writes: true,
    optional: true,
  },
  connect_queue_store: { roles: roleNames, stores: ['queue_store'], goesOn: true },
  /** Waits for a moment where a copied database may use the same queues. */
  check_queue_use: { roles: roleNames, stores: [] },
  read_keys: { roles: roleNames, stores: [] },
  /** Its loops use both stores and wait for them by themselves. */
  start_scheduler: { roles: ['scheduler'], stores: ['database', 'queue_store'], goesOn: true },
  /** The first heartbeat. */
  announce_worker: { roles: ['worker'], stores: ['database'], writes: true },
  start_worker: { roles: ['worker'], stores: ['database', 'queue_store'], goesOn: true },
  serve: { roles: ['web'], stores: ['database', 'queue_store'], goesOn: true },
} as const satisfies Readonly<Record<string, StartupStep>>;

export type StepName = keyof typeof startupSteps;

/** The step with the properties that the registry may leave out. */
export const stepOf = (name: StepName): StartupStep => startupSteps[name];
