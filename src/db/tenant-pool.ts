/**
 * The tenant pool of a thread or process that runs handlers: what it needs to open one is plain data, so
 * that it can be handed over a thread's or a process's border.
 */
import { connect } from './connect.ts';
import type { Sql } from './connect.ts';
import type { TenantPool } from './tenant.ts';

/** How tenant transactions reach the database; holds a connection string. */
export interface TenantAccess extends Omit<TenantPool, 'sql'> {
  readonly url: string;
  readonly tlsVerify: boolean | undefined;
  readonly pooled: boolean;
}

/** Opens a lazy pool of at most `max` connections, which the server knows as `applicationName`. */
export function openTenantPool(
  access: TenantAccess,
  options: { readonly max: number; readonly applicationName: string },
): TenantPool & { close(): Promise<void> } {
  const { url, tlsVerify, pooled, ...pool } = access;
  // SQL of one tenant could replace a statement that is kept by name, and read the next one's token with it.
  const sql = connect(url, { ...options, tlsVerify, pooled, prepare: false });
  return { ...pool, sql, close: () => sql.end({ timeout: 5 }) };
}

/**
 * Ends what is left on the server of a pool whose thread was killed. Only where the login may (the same one,
 * or a member of the tenant login's role). Returns how many sessions there were.
 */
export async function endSessions(system: Sql, applicationName: string): Promise<number> {
  const ended = await system`
    select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = ${applicationName} and datname = current_database()
      and backend_type = 'client backend'`;
  return ended.count;
}

/**
 * Ends tenants' sessions that hold a token for longer than `afterMs`: a commit takes it for a moment, but SQL that
 * lifts its timeouts keeps it, under another name than its executor's, and then no attempt of that worker would
 * come to its end. Level L3 only, where such sessions are known by their login. Returns how many there were.
 */
export async function endHoldouts(system: Sql, afterMs: number): Promise<number> {
  const ended = await system`
    select pg_terminate_backend(a.pid)
    from pg_stat_activity a
    join pg_roles tenant on tenant.rolname = 'purser_tenant' and pg_has_role(a.usesysid, tenant.oid, 'member')
    join pg_roles fleet on fleet.rolname = 'purser_system' and not pg_has_role(a.usesysid, fleet.oid, 'member')
    where a.datname = current_database() and pg_has_role(current_user, a.usesysid, 'usage')
      and a.query_start < now() - ${afterMs} * interval '1 millisecond'
      and exists (
        select from pg_locks l
        where l.pid = a.pid and l.granted and l.relation = 'purser.context_tokens'::regclass
          and l.mode in ('RowShareLock', 'RowExclusiveLock'))`;
  return ended.count;
}
