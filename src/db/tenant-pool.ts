/**
 * The tenant pool of a thread or process that runs handlers. `TenantAccess` is plain data, so that it can be posted
 * to a thread or passed to a process.
 */
import type { Sql } from './connect.ts';
import { codeOf } from '../errors.ts';
import { databaseUnavailable } from './guard/outage.ts';
import { breakLocks } from './locks/broken.ts';
import { SessionPool } from './guard/session-pool.ts';
import { Session } from './guard/session.ts';
import { isStoreUnavailable } from './store-errors.ts';
import { setLocalStatements } from '../session-settings.ts';
import type { TenantPool } from './tenant.ts';

/** How tenant transactions reach the database. Contains a connection string. */
export interface TenantAccess extends Omit<TenantPool, 'sessions' | 'settings'> {
  readonly url: string;
  readonly tlsVerify: boolean | undefined;
  readonly pooled: boolean;
  readonly serverVersion: number;
}

/** Opens a lazy pool of at most `max` sessions. */
export function openTenantPool(
  access: TenantAccess,
  options: { readonly max: number; readonly applicationName: string },
): TenantPool & { close(): Promise<void> } {
  const { url, tlsVerify, pooled, serverVersion, ...pool } = access;
  const { max, applicationName } = options;
  // With named prepared statements, SQL of one tenant could redefine a statement and read the next token with it.
  const open = () =>
    Session.open(url, { applicationName, tlsVerify, pooled, serverVersion, prepare: false }).catch(
      (error: unknown) => {
        if (isStoreUnavailable(error))
          throw databaseUnavailable(`no session could be opened (${codeOf(error)})`, error);
        // A SQLSTATE: no fault of the attempt, which would end as a dead letter. SQL of a tenant can cause it (L3).
        if (!/^[0-9A-Z]{5}$/.test(codeOf(error))) throw error;
        throw databaseUnavailable(
          `the server refuses sessions to the login of handlers (${codeOf(error)}); check its password, its ` +
            'settings (alter role ... reset all) and TENANT_DATABASE_URL',
          error,
        );
      },
    );
  const sessions = new SessionPool(max, open);
  const settings = pooled ? setLocalStatements(serverVersion) : '';
  return { ...pool, sessions, settings, close: () => sessions.close() };
}

/**
 * Terminates the sessions of a pool whose thread was killed. The login needs the right to (it is the same login, or
 * a member of the tenant login's role). Returns the number of sessions.
 */
export async function terminateSessions(system: Sql, applicationName: string): Promise<number> {
  const ended = await system`
    select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = ${applicationName} and datname = current_database()
      and backend_type = 'client backend'`;
  return ended.count;
}

/**
 * Terminates tenant sessions that hold a row lock on an attempt for longer than `afterMs`. A commit holds it for a
 * moment; SQL that removes its timeouts can hold it without limit, and while it does, attempts of that worker
 * cannot end. Its attempt is told (locks/broken.ts), unless it waits for a lock itself or its commit takes so long,
 * as one that waits for a standby does. Level L3 only, where tenant sessions are recognised by their login. Returns
 * their number.
 */
export async function terminateStuckSessions(system: Sql, afterMs: number): Promise<number> {
  return breakLocks(
    system,
    system`
      select a.pid, a.xact_start, case
        when a.wait_event_type is distinct from 'Lock' and a.query !~* '^\\s*commit\\s*$'
        then 'the token of its attempt' end as lock
      from pg_stat_activity a
      join pg_roles tenant on tenant.rolname = 'purser_tenant' and pg_has_role(a.usesysid, tenant.oid, 'member')
      join pg_roles fleet on fleet.rolname = 'purser_system' and not pg_has_role(a.usesysid, fleet.oid, 'member')
      where a.datname = current_database() and pg_has_role(current_user, a.usesysid, 'usage')
        and a.query_start < now() - ${afterMs} * interval '1 millisecond'
        and exists (
          select from pg_locks l
          where l.pid = a.pid and l.granted and l.relation = 'purser.in_flight'::regclass
            and l.mode in ('RowShareLock', 'RowExclusiveLock'))`,
  );
}
