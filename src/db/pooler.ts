/**
 * Whether a pooler such as PgBouncer stands between this process and Postgres: what works through one that
 * lends its server connections per transaction is decided by knowing it, not by hoping.
 */
import { exitCodes, PurserError } from '../errors.ts';
import type { Sql } from './connect.ts';

/** `transaction`: the pooler lends a server connection per transaction, so sessions keep nothing. */
export type Pooler = 'none' | 'session' | 'transaction';

/** A pooler answers with a process id of its own making, the server with its own. */
async function isPooled(sql: Sql): Promise<{ pooled: boolean; serverPid: number }> {
  const result = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  const serverPid = result[0]?.pid ?? 0;
  return { pooled: result.state.pid !== serverPid, serverPid };
}

/** Enough for a busy pooler to lend both clients the same connection once. */
const rounds = 8;

/**
 * `first` and `second` are pools of one connection each to the same address; `second` is opened only behind
 * a pooler. Two clients that got the same server connection, one after the other, share it by transaction.
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
    // In session mode each client keeps one server connection; more than one is lent by transaction too.
    return mine.size > 1 || theirs.size > 1 ? 'transaction' : 'session';
  } finally {
    await other.end({ timeout: 5 });
  }
}

/** What works only on a connection of one's own: LISTEN, session locks, session settings. */
export function directUrlRequired(what: string): PurserError {
  return new PurserError(
    'direct_url_required',
    `${what} cannot go through a pooler in transaction mode. ` +
      'Set DATABASE_DIRECT_URL to the database itself and leave DATABASE_URL at the pooler',
    { exitCode: exitCodes.configuration },
  );
}
