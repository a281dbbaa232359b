/**
 * Detects a pooler such as PgBouncer between this process and Postgres, and whether it assigns server connections
 * per session or per transaction.
 */
import { exitCodes, PurserError } from '../errors.ts';
import type { Sql } from './connect.ts';

/** `transaction`: the pooler assigns a server connection per transaction, so session state does not persist. */
export type Pooler = 'none' | 'session' | 'transaction';

/** At connect a pooler reports a process id that it made up; pg_backend_pid() is the real one. */
async function isPooled(sql: Sql): Promise<{ pooled: boolean; serverPid: number }> {
  const result = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  const serverPid = result[0]?.pid ?? 0;
  return { pooled: result.state.pid !== serverPid, serverPid };
}

/** Enough rounds for a busy pooler to assign the same server connection to both clients once. */
const rounds = 8;

/**
 * `first` and `second` are pools of one connection each to the same address; `second` is opened only behind a
 * pooler. If both clients get the same server connection, the pooler is in transaction mode.
 */
export async function detectPooler(first: Sql, second: () => Sql): Promise<Pooler> {
  if (!(await isPooled(first)).pooled) return 'none';
  const other = second();
  try {
    const mine = new Set<number>();
    const theirs = new Set<number>();
    for (let round = 0; round < rounds; round += 1) {
      mine.add((await isPooled(first)).serverPid);
      theirs.add((await isPooled(other)).serverPid);
      if ([...mine].some((pid) => theirs.has(pid))) return 'transaction';
    }
    // In session mode a client keeps one server connection; if it saw several, the mode is transaction.
    return mine.size > 1 || theirs.size > 1 ? 'transaction' : 'session';
  } finally {
    await other.end({ timeout: 5 });
  }
}

/** For features that need a session of their own: LISTEN, session locks, session settings. */
export function directUrlRequired(what: string): PurserError {
  return new PurserError(
    'direct_url_required',
    `${what} cannot go through a pooler in transaction mode. ` +
      'Set DATABASE_DIRECT_URL to the database itself and leave DATABASE_URL at the pooler',
    { exitCode: exitCodes.configuration },
  );
}
