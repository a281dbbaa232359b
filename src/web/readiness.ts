/**
 * Whether this process can serve: Postgres answers, its migrations are there, the queue store answers.
 * The answer is public, so it names parts and never what a driver said; that is in the log.
 */
import type { Database } from '../db/database.ts';
import { migrationStatus } from '../db/migrate.ts';
import { PurserError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { QueueBackend } from '../queues/backend.ts';
import { shared, within } from './within.ts';

export interface Unready {
  readonly part: 'postgres' | 'migrations' | 'queue_store';
  readonly reason: string;
}

export interface ReadinessOptions {
  readonly database: Database;
  readonly backend: QueueBackend;
  readonly log: Logger;
}

const answerMs = 2_000;
const keepMs = 500;

/** Asks for what is not ready; an empty list means ready. Never throws. */
export function createReadiness(options: ReadinessOptions): () => Promise<Unready[]> {
  const { database, backend, log } = options;
  const schema = shared(keepMs, unappliedMigrations(database));
  const queues = shared(keepMs, () => backend.ping());
  let before: ReadonlySet<Unready['part']> = new Set();

  const ask = async (
    part: Unready['part'],
    answer: Promise<unknown>,
  ): Promise<Unready | undefined> => {
    try {
      await within(answerMs, answer);
      return undefined;
    } catch (error) {
      const unready = describe(part, error);
      if (!before.has(unready.part)) log.warn({ ...unready, error }, 'not_ready');
      return unready;
    }
  };

  return async () => {
    const pending = schema();
    const [postgres, queueStore] = await Promise.all([
      ask('postgres', pending),
      ask('queue_store', queues()),
    ]);
    const missing = postgres === undefined ? await pending : 0;
    const migrations: Unready | undefined =
      missing === 0
        ? undefined
        : { part: 'migrations', reason: `${missing} to apply; run: purser migrate up` };
    const unready = [postgres, migrations, queueStore].filter((part) => part !== undefined);
    if (unready.length === 0 && before.size > 0) log.info('ready_again');
    before = new Set(unready.map(({ part }) => part));
    return unready;
  };
}

function describe(part: Unready['part'], error: unknown): Unready {
  if (!(error instanceof PurserError)) return { part, reason: 'not_reachable' };
  // Where Postgres did answer, it is the comparison of migrations that failed.
  const answered = part === 'postgres' && error.code !== 'no_answer';
  return { part: answered ? 'migrations' : part, reason: error.code };
}

/**
 * Returns a function that counts what is still to be applied. The files are compared once; from then on
 * only the ledger is read, so that a deployment that puts new files in place does not stop this process.
 * A database that is ahead of this release serves it: the next release is being rolled out.
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
