/**
 * Detects a pooler such as PgBouncer between this process and Postgres, and whether it assigns server connections
 * per session or per transaction.
 */
import { explainTls } from '../connection-faults.ts';
import { exitCodes, messageOf, PurserError } from '../errors.ts';
import { connect } from './connect.ts';
import type { ConnectOptions, Sql } from './connect.ts';

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

export interface SettingsToSend {
  readonly allSettings: boolean;
  readonly serverVersion?: number | undefined;
}

/** Every setting, those that servers before 17 do not know, and those that PgBouncer does not take. */
const attempts = [
  {
    settings: { allSettings: true, serverVersion: 17 },
    refusal: /unrecognized configuration parameter/,
  },
  { settings: { allSettings: true }, refusal: /unsupported startup parameter/ },
] as const;

/** For tools: a pool of one connection, without named statements. */
export const singleConnection =
  (url: string, options: Pick<ConnectOptions, 'applicationName' | 'tlsVerify'>) =>
  ({ allSettings, serverVersion }: SettingsToSend): Sql =>
    connect(url, { ...options, max: 1, prepare: false, serverVersion, pooled: !allSettings });

/** A pool of one connection that sends as many session settings as the server, or a pooler before it, takes. */
export async function openWithSettings(open: (settings: SettingsToSend) => Sql): Promise<Sql> {
  const refused = new Set<RegExp>();
  for (;;) {
    const attempt = attempts.find(({ refusal }) => !refused.has(refusal));
    if (attempt === undefined) return open({ allSettings: false });
    const sql = open(attempt.settings);
    try {
      await sql`select 1`;
      return sql;
    } catch (error) {
      await sql.end({ timeout: 0 });
      const message = messageOf(error);
      const found = attempts.find(({ refusal }) => refusal.test(message));
      if (found === undefined) throw explainTls(error, 'Postgres');
      for (const { refusal } of attempts.slice(0, attempts.indexOf(found) + 1))
        refused.add(refusal);
    }
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

/**
 * Throws `direct_url_differs` (exit 78) where the two addresses, one of them past the pooler, lead to two databases:
 * migrations and queues would go to another one than the jobs.
 */
export async function assertSameDatabase(
  url: string,
  directUrl: string,
  options: Pick<ConnectOptions, 'applicationName' | 'tlsVerify'>,
): Promise<void> {
  const [pooled, direct] = await Promise.allSettled(
    [url, directUrl].map((each) => identityOf(each, options)),
  );
  // An address that cannot be reached is reported by what needs it.
  if (pooled?.status !== 'fulfilled' || direct?.status !== 'fulfilled') return;
  if (pooled.value === direct.value) return;
  throw new PurserError(
    'direct_url_differs',
    'DATABASE_DIRECT_URL names a different database than DATABASE_URL, so that migrations and queues would not be where ' +
      'the jobs are; set it to the address of the same database without the pooler',
    { exitCode: exitCodes.configuration },
  );
}

/** Of a database on its running server; a copy has another one. */
async function identityOf(
  url: string,
  options: Pick<ConnectOptions, 'applicationName' | 'tlsVerify'>,
): Promise<string | undefined> {
  const sql = await openWithSettings(singleConnection(url, options));
  try {
    const [row] = await sql<{ identity: string }[]>`
      select (oid, datname, pg_postmaster_start_time())::text as identity
      from pg_database where datname = current_database()`;
    return row?.identity;
  } finally {
    await sql.end({ timeout: 5 });
  }
}
