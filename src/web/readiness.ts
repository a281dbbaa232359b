/**
 * Whether this process can serve: Postgres answers, all migrations are applied, and the queue store answers or
 * answered a moment ago. The result is public: it names parts only; errors of drivers go to the log.
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

export interface ReadinessOptions {
  readonly database: Database;
  readonly backend: QueueBackend;
  readonly log: Logger;
  /** How long a queue store that has answered before may be unreachable before it counts. */
  readonly queueStoreAwayMs?: number | undefined;
}

/**
 * A restart or failover of the store takes some seconds. Jobs can be enqueued meanwhile, and a router that
 * removed the process would only make the outage worse.
 */
const defaultQueueStoreAwayMs = 10_000;
const answerMs = 2_000;
const keepMs = 500;

/** Returns a function that lists the parts that are not ready. Never throws. */
export function createReadiness(options: ReadinessOptions): () => Promise<Unready[]> {
  const { database, backend, log } = options;
  const schema = shared(keepMs, unappliedMigrations(database));
  const queues = shared(keepMs, () => backend.ping());
  const queueStoreAwayMs = options.queueStoreAwayMs ?? defaultQueueStoreAwayMs;
  let before: ReadonlySet<Unready['part']> = new Set();
  let queueStoreAnswered = false;
  let queueStoreAwaySinceMs: number | undefined;

  /** A queue store that never answered counts at once: its address may be wrong. */
  const askQueueStore = async (): Promise<Fault | undefined> => {
    const fault = await ask('queue_store', queues());
    const nowMs = performance.now();
    if (fault === undefined) {
      queueStoreAnswered = true;
      queueStoreAwaySinceMs = undefined;
      return undefined;
    }
    queueStoreAwaySinceMs ??= nowMs;
    const tolerated = queueStoreAnswered && nowMs - queueStoreAwaySinceMs < queueStoreAwayMs;
    return tolerated ? undefined : fault;
  };

  return async () => {
    const pending = schema();
    const [postgres, queueStore] = await Promise.all([ask('postgres', pending), askQueueStore()]);
    const missing = postgres === undefined ? await pending : 0;
    const migrations: Fault | undefined =
      missing === 0
        ? undefined
        : { part: 'migrations', reason: `${missing} to apply; run: purser migrate up` };
    const faults = [postgres, migrations, queueStore].filter((fault) => fault !== undefined);
    for (const fault of faults) if (!before.has(fault.part)) log.warn(fault, 'not_ready');
    if (faults.length === 0 && before.size > 0) log.info('ready_again');
    before = new Set(faults.map(({ part }) => part));
    return faults.map(({ part, reason }) => ({ part, reason }));
  };
}

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
