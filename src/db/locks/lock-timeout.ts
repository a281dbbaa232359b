/**
 * Transactions of a role that an operator waits for: they wait for a lock for a limited time only, and their error
 * names who holds it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Tx } from '../connect.ts';
import type { Database } from '../database.ts';
import { isLockFailure, listHoldersOver, lockHeld, operatorLockTimeoutMs } from './holders.ts';
import type { LockHolder } from './holders.ts';

/** Runs `run` in one transaction. Throws `lock_held` (503) when it has waited for a lock for `timeoutMs`. */
export async function withLockTimeout<T>(
  database: Pick<Database, 'system' | 'once'>,
  what: string,
  run: (tx: Tx) => Promise<T>,
  timeoutMs = operatorLockTimeoutMs,
): Promise<T> {
  const looking = new AbortController();
  const { signal } = looking;
  let holders: readonly LockHolder[] = [];
  // Only then: its session is one more, and most transactions wait for nothing.
  const look = async (pid: number): Promise<void> => {
    await sleep(timeoutMs / 2, undefined, { signal, ref: false });
    holders = await database.once(signal, (sql) => listHoldersOver(sql, pid));
  };
  let looked: Promise<void> | undefined;
  try {
    const made = await database.system.begin(async (tx) => {
      const [session] = await tx<{ pid: number }[]>`
        select pg_backend_pid() as pid, set_config('lock_timeout', ${String(timeoutMs)}, true)`;
      if (session !== undefined) looked = look(session.pid).catch(() => {});
      return { value: await run(tx) };
    });
    return made.value;
  } catch (error) {
    throw isLockFailure(error, holders) ? lockHeld(what, holders, error) : error;
  } finally {
    looking.abort();
    await looked;
  }
}
