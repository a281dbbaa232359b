/**
 * Whether this very process can serve: it has reached both stores since its start, and all migrations are applied.
 * A later outage of a store does not make it unready: a router would only take the console away as well. The
 * result is public: it names parts only; errors of drivers go to the log.
 */
import type { Database } from '../db/database.ts';
import { migrationStatus } from '../db/migrate.ts';
import { PurserError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { QueueBackend } from '../queues/backend.ts';
import { shared, within } from './time-limit.ts';

export interface Unready {
  readonly part: 'postgres' | 'migrations' | 'queue_store';
  readonly reason: string;
}

export interface Readiness {
  readonly ready: boolean;
  /** Why the process is not ready. */
  readonly notReady?: readonly Unready[];
  /** Stores that this process has reached before and cannot reach now. */
  readonly degraded?: readonly Unready[];
}

export interface ReadinessOptions {
  readonly database: Database;
  readonly backend: Pick<QueueBackend, 'ping'>;
  readonly log: Logger;
}

const answerMs = 2_000;
const keepMs = 500;

/** Returns a function that reads the readiness. It never throws. */
export function createReadiness(options: ReadinessOptions): () => Promise<Readiness> {
  const { database, backend, log } = options;
  const schema = shared(keepMs, unappliedMigrations(database));
  const queues = shared(keepMs, () => backend.ping());
  const reached = new Set<Unready['part']>();
  let before: ReadonlySet<Unready['part']> = new Set();

  return async () => {
    const pending = schema();
    const [postgres, queueStore] = await Promise.all([
      ask('postgres', pending),
      ask('queue_store', queues()),
    ]);
    if (postgres === undefined) reached.add('postgres');
    if (queueStore === undefined) reached.add('queue_store');
    const missing = postgres === undefined ? await pending : 0;
    const migrations: Fault | undefined =
      missing === 0
        ? undefined
        : { part: 'migrations', reason: `${missing} to apply; run: purser migrate up` };
    const faults = [postgres, migrations, queueStore].filter((fault) => fault !== undefined);
    for (const fault of faults) {
      if (!before.has(fault.part))
        log.warn(fault, reached.has(fault.part) ? 'degraded' : 'not_ready');
    }
    if (faults.length === 0 && before.size > 0) log.info('ready_again');
    before = new Set(faults.map(({ part }) => part));
    const notReady = faults.filter(({ part }) => !reached.has(part)).map(publicPart);
    const degraded = faults.filter(({ part }) => reached.has(part)).map(publicPart);
    return {
      ready: notReady.length === 0,
      ...(notReady.length === 0 ? {} : { notReady }),
      ...(degraded.length === 0 ? {} : { degraded }),
    };
  };
}

const publicPart = ({ part, reason }: Fault): Unready => ({ part, reason });

/** The public part, and the error for the log. */
interface Fault extends Unready {
  readonly error?: unknown;
}

async function ask(part: Unready['part'], answer: Promise<unknown>): Promise<Fault | undefined> {
  try {
    await within(answerMs, answer);
    return undefined;
  } catch (error) {
    return { ...describe(part, error), error };
  }
}

function describe(part: Unready['part'], error: unknown): Unready {
  if (!(error instanceof PurserError)) return { part, reason: 'not_reachable' };
  // Postgres answered; comparing the migrations failed.
  const answered = part === 'postgres' && error.code !== 'no_answer';
  return { part: answered ? 'migrations' : part, reason: error.code };
}

/**
 * Returns a function that counts migrations to apply. The files are compared once; later calls read only the
 * table of applied migrations, so that new files of the next deployment do not make this process unready.
 * A database that is ahead of this release counts as migrated.
 */
function unappliedMigrations({ system: sql }: Database): () => Promise<number> {
  let complete: number | undefined;
  return async () => {
    if (complete !== undefined) {
      const [ledger] = await sql<{ applied: number }[]>`
        select count(*)::int as applied from purser.migrations`;
      return Math.max(0, complete - (ledger?.applied ?? 0));
    }
    try {
      const status = await migrationStatus(sql);
      const missing = status.filter(({ appliedAt }) => appliedAt === null).length;
      if (missing === 0) complete = status.length;
      return missing;
    } catch (error) {
      if (error instanceof PurserError && error.code === 'database_newer') return 0;
      throw error;
    }
  };
}
