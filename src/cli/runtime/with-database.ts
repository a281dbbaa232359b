/**
 * Opens the database for one command and always closes it. A command never waits without a limit for a lock, such as
 * that of a tenant's open transaction: its error names who holds it.
 */
import { randomBytes } from 'node:crypto';
import type { Config } from '../../config.ts';
import type { Queryable } from '../../db/connect.ts';
import { openDatabase } from '../../db/database.ts';
import type { Database } from '../../db/database.ts';
import {
  isLockFailure,
  lockHeld,
  operatorLockTimeoutMs,
  watchLocks,
} from '../../db/locks/holders.ts';
import { assertMigrated } from '../../db/migrate.ts';
import { Lifecycle } from '../../process/lifecycle.ts';
import { createLogger } from '../../log.ts';
import { databaseOptions } from './database-options.ts';
import { using } from './unreachable.ts';

/** After the lock timeout of the sessions that have one. */
const cancelAfterMs = operatorLockTimeoutMs + 1_000;

export interface CommandServices {
  readonly database: Database;
  readonly lifecycle: Lifecycle;
}

/** Runs `fn` with a system pool of two connections and, if `tenantConnections` is set, a tenant pool. */
export async function withDatabase<T>(
  config: Config,
  fn: (services: CommandServices) => Promise<T>,
  tenantConnections = 0,
): Promise<T> {
  const log = createLogger({
    level: config.LOG_LEVEL === 'info' ? 'warn' : config.LOG_LEVEL,
    role: 'cli',
  });
  const lifecycle = new Lifecycle(log);
  // Of this command only, so that it is told from others that run at the same time.
  const name = `cli ${randomBytes(4).toString('hex')}`;
  try {
    return await using(config, 'DATABASE_URL', async () => {
      const database = await openDatabase(
        databaseOptions(config, {
          name,
          systemConnections: 2,
          tenantConnections,
          lockTimeoutMs: operatorLockTimeoutMs,
        }),
      );
      lifecycle.opened('database', () => database.close());
      await assertMigrated(database.system);
      return withLockWatch(database.leases, `purser ${name}`, () => fn({ database, lifecycle }));
    });
  } finally {
    await lifecycle.close();
  }
}

/**
 * Runs `run` on sessions that have this name, and watches them from `watcher`, another session. Throws `lock_held`
 * (exit 69) instead of a lock timeout.
 */
export async function withLockWatch<T>(
  watcher: Queryable,
  name: string,
  run: () => Promise<T>,
): Promise<T> {
  const watch = watchLocks(watcher, [name, `${name} tenant`], cancelAfterMs);
  try {
    return await run();
  } catch (error) {
    throw isLockFailure(error, watch.holders())
      ? lockHeld('the command', watch.holders(), error)
      : error;
  } finally {
    await watch.stop();
  }
}
