/**
 * Locks of a migration. One migration runs at a time, by a lock that no tenant can take. A statement that waits for a
 * table's lock makes every later statement on that table wait behind it, so a migration waits for a moment only, lets
 * the others pass, and tries again for a limited time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, exitCodes, PurserError } from '../../errors.ts';
import type { Queryable, Sql } from '../connect.ts';
import { isLockFailure, lockHeld, watchLocks } from './holders.ts';
import type { LockHolder } from './holders.ts';

/** For how long a statement of a migration may make others wait behind it. */
export const migrationLockTimeoutMs = 1_000;
/** For how long it is tried again. */
export const defaultLockWaitMs = 120_000;

const firstPauseMs = 250;
const maxPauseMs = 5_000;

export interface LockRetry {
  /** A session other than that of `run`. */
  readonly watch: Queryable;
  /** The names of the sessions of `run`. */
  readonly names: readonly string[];
  readonly lockWaitMs: number;
  /** Called before each pause. */
  readonly onWait?: ((what: string, holders: readonly LockHolder[]) => void) | undefined;
}

/** Runs `run`, whose statements have a short lock timeout, until it meets no lock. Throws `lock_held` (exit 69). */
export async function retryWhileLocked<T>(
  { watch, names, lockWaitMs, onWait }: LockRetry,
  what: string,
  run: () => Promise<T>,
): Promise<T> {
  const deadlineMs = performance.now() + lockWaitMs;
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(2 * pauseMs, maxPauseMs)) {
    const locks = watchLocks(watch, names, lockWaitMs);
    try {
      return await run();
    } catch (error) {
      if (!isLockFailure(error, locks.holders())) throw error;
      if (performance.now() + pauseMs > deadlineMs) throw lockHeld(what, locks.holders(), error);
      onWait?.(what, locks.holders());
    } finally {
      await locks.stop();
    }
    await sleep(pauseMs * (0.5 + Math.random() / 2));
  }
}

/** The last is "type already exists", where the other table is committed between the looks for the table and its type. */
const alreadyThere = new Set(['23505', '42P06', '42P07', '42710']);
const maxTries = 5;

/** Creates the table of applied migrations. Two migrations may do so at once. */
export async function ensureLedger(sql: Sql): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await sql`create schema if not exists purser`;
      await sql`
        create table if not exists purser.migrations (
          version integer primary key,
          name text not null,
          checksum text not null,
          applied_at timestamptz not null default now()
        )`;
      return;
    } catch (error) {
      if (!alreadyThere.has(codeOf(error)) || tries === maxTries) throw error;
    }
  }
}

/**
 * Takes the lock of migrations in a transaction that stays open until the session of `sql`, a pool of one connection,
 * ends. It conflicts with itself and with no read or insert. Not an advisory lock: every login can take those.
 */
export async function lockMigrations(sql: Sql, retry: LockRetry): Promise<void> {
  try {
    await retryWhileLocked(retry, 'the migration', async () => {
      await sql.unsafe('rollback; begin');
      await sql`select set_config('lock_timeout', ${String(migrationLockTimeoutMs)}, true)`;
      await sql`lock table purser.migrations in share update exclusive mode`;
    });
  } catch (error) {
    if (!(error instanceof PurserError) || error.code !== 'lock_held') throw error;
    throw new PurserError('migration_running', `another migration is running: ${error.message}`, {
      cause: error,
      exitCode: exitCodes.unavailable,
    });
  }
}

/** Whether any migration was ever applied. */
export async function hasLedger(sql: Sql): Promise<boolean> {
  const [known] = await sql<{ known: boolean }[]>`
    select to_regclass('purser.migrations') is not null as known`;
  return known?.known === true;
}
