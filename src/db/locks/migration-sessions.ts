/**
 * The sessions of a migration: one runs its statements, one holds the lock of migrations, and one watches what the
 * first waits for. None may go through a pooler in transaction mode.
 */
import { randomUUID } from 'node:crypto';
import { explainTls } from '../../connection-faults.ts';
import { assertEncoding, assertSessionSettings } from '../check-settings.ts';
import type { ConnectOptions, Sql } from '../connect.ts';
import { detectPooler, directUrlRequired, openWithSettings, singleConnection } from '../pooler.ts';
import type { LockHolder } from './holders.ts';
import {
  defaultLockWaitMs,
  ensureLedger,
  hasLedger,
  lockMigrations,
  migrationLockTimeoutMs,
  retryWhileLocked,
} from './migration.ts';

export interface MigrationSessionOptions extends Pick<ConnectOptions, 'tlsVerify'> {
  /** For how long a statement is tried again that meets the lock of another session. Default two minutes. */
  readonly lockWaitMs?: number | undefined;
  /** Called each time before it is tried again. */
  readonly onWait?: ((what: string, holders: readonly LockHolder[]) => void) | undefined;
}

/** Runs `step` again while it meets the locks of other sessions. */
export type Retry = <T>(what: string, step: () => Promise<T>) => Promise<T>;

/** Runs `run` while no other migration runs. */
export async function withMigrationLock<T>(
  url: string,
  options: MigrationSessionOptions & { readonly creates: boolean },
  run: (sql: Sql, retry: Retry) => Promise<T>,
): Promise<T> {
  const { tlsVerify, lockWaitMs = defaultLockWaitMs, onWait } = options;
  // A name of its own tells the sessions of this migration from those of another one.
  const application = `purser migrate ${randomUUID().slice(0, 8)}`;
  const single = singleConnection(url, { applicationName: application, tlsVerify });
  const open = async (): Promise<Sql> =>
    openWithSettings(single).catch((error: unknown) => {
      throw explainTls(error, 'Postgres');
    });
  const sql = await open();
  let lock: Sql | undefined;
  try {
    const pooler = await detectPooler(sql, () => single({ allSettings: false }));
    if (pooler === 'transaction')
      throw directUrlRequired('a migration, which sets its session up and holds a lock,');
    await assertSessionSettings(sql);
    await assertEncoding(sql);
    if (options.creates) await ensureLedger(sql);
    lock = await open();
    const watched = { names: [application], lockWaitMs, onWait };
    if (await hasLedger(sql)) await lockMigrations(lock, { ...watched, watch: sql });
    const watch = await open();
    try {
      await sql`
        select set_config('purser.system', 'on', false),
               set_config('lock_timeout', ${String(migrationLockTimeoutMs)}, false)`;
      return await run(sql, (what, step) => retryWhileLocked({ ...watched, watch }, what, step));
    } finally {
      await watch.end({ timeout: 5 });
    }
  } finally {
    await Promise.all([sql.end({ timeout: 5 }), lock?.end({ timeout: 5 })]);
  }
}
