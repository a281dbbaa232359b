/**
 * Who holds the locks that a tool of an operator waits for. A tool never waits without a limit: the server ends its
 * statements after a lock timeout, and the error names the sessions that hold the lock and what to do.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, exitCodes, PurserError } from '../../errors.ts';
import type { Queryable } from '../connect.ts';

/** Lock timeout of the commands of operators: as long as the sweep lets a tenant's transaction block others. */
export const operatorLockTimeoutMs = 5_000;

export interface LockHolder {
  readonly pid: number;
  readonly login: string;
  readonly application: string;
  /** Begin of its transaction; null if this login may not see it. */
  readonly since: Date | null;
}

/** Sessions that hold what the sessions with these names wait for. */
async function listHolders(sql: Queryable, names: readonly string[]): Promise<LockHolder[]> {
  return sql<LockHolder[]>`
    select distinct h.pid, h.usename::text as login, h.application_name as application, h.xact_start as since
    from pg_stat_activity w cross join lateral unnest(pg_blocking_pids(w.pid)) b (pid)
    join pg_stat_activity h on h.pid = b.pid
    where w.datname = current_database() and w.application_name = any (${names}::text[])
      and h.application_name <> all (${names}::text[]) and w.wait_event_type = 'Lock'
    order by 1`;
}

/** Sessions that hold what the session with this pid waits for. */
export async function listHoldersOver(sql: Queryable, pid: number): Promise<LockHolder[]> {
  return sql<LockHolder[]>`
    select distinct h.pid, h.usename::text as login, h.application_name as application, h.xact_start as since
    from unnest(pg_blocking_pids(${pid}::int)) b (pid) join pg_stat_activity h on h.pid = b.pid order by 1`;
}

/** Behind a pooler, and in a tenant's transaction, no lock timeout was sent. */
async function cancelWaiting(
  sql: Queryable,
  names: readonly string[],
  afterMs: number,
): Promise<void> {
  await sql`
    select pg_cancel_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = any (${names}::text[])
      and wait_event_type = 'Lock'
      and query_start < now() - ${afterMs} * interval '1 millisecond'`;
}

export interface LockWatch {
  /** Holders that were seen last. */
  readonly holders: () => readonly LockHolder[];
  readonly stop: () => Promise<void>;
}

const everyMs = 200;

/**
 * Watches what the sessions with these names wait for, and cancels what waits for longer than `timeoutMs`. `sql` is
 * another session than theirs, though it may have one of the names. Failures of the watch are ignored.
 */
export function watchLocks(sql: Queryable, names: readonly string[], timeoutMs: number): LockWatch {
  const stopping = new AbortController();
  let last: readonly LockHolder[] = [];
  const watch = async (): Promise<void> => {
    for (;;) {
      await sleep(everyMs, undefined, { signal: stopping.signal, ref: false });
      const found = await listHolders(sql, names);
      if (found.length > 0) last = found;
      await cancelWaiting(sql, names, timeoutMs);
    }
  };
  const watching = watch().catch(() => {});
  return {
    holders: () => last,
    stop: () => {
      stopping.abort();
      return watching;
    },
  };
}

const lockTimeoutCodes = new Set(['55P03', '40P01']);
const cancelled = '57014';

/** Whether a lock that another session holds made the statement fail; `error` may be a consequence of that. */
export function isLockFailure(error: unknown, holders: readonly LockHolder[]): boolean {
  const code = codeOf(error);
  if (lockTimeoutCodes.has(code) || (code === cancelled && holders.length > 0)) return true;
  return error instanceof Error && error.cause !== undefined && isLockFailure(error.cause, holders);
}

function describe({ pid, login, application, since }: LockHolder): string {
  const open = since === null ? '' : `, its transaction is open since ${since.toISOString()}`;
  return `pid ${pid} (login ${login}, ${JSON.stringify(application)}${open})`;
}

/** The error of an operator's tool: who holds the lock, and what to do. */
export function lockHeld(
  what: string,
  holders: readonly LockHolder[],
  cause: unknown,
): PurserError {
  const pids = holders.map(({ pid }) => pid);
  const who = holders.length === 0 ? 'another session' : holders.map(describe).join(' and ');
  const end = pids.map((pid) => `select pg_terminate_backend(${pid})`).join('; ');
  return new PurserError(
    'lock_held',
    `${what} waited in vain for a lock that ${who} holds. Try again: the scheduler ends a tenant's transaction that ` +
      `outlives the deadline of its attempt${end === '' ? '' : `; to end it now: ${end}`}`,
    { cause, exitCode: exitCodes.unavailable, status: 503, details: { pids } },
  );
}
