/**
 * Ends tenant sessions that outlive their attempt or make system sessions wait, whatever locks they hold. At level L3
 * they are recognised by their login, otherwise by the name of their pool, which SQL of a handler can change.
 */
import type { Queryable, Sql } from './connect.ts';
import { breakLocks } from './locks/broken.ts';

/** CTE of the tenant sessions of this database that this login may terminate. */
const tenantSession = (sql: Queryable) => sql`
  tenant_session as materialized (
    select a.pid, a.xact_start, a.wait_event_type is not distinct from 'Lock' as waits from pg_stat_activity a
    where a.datname = current_database() and a.backend_type = 'client backend' and a.pid <> pg_backend_pid()
      and (a.usesysid = current_user::regrole and a.application_name ~ '^purser .*tenant'
        or exists (
          select from pg_roles tenant join pg_roles fleet on fleet.rolname = 'purser_system'
          where tenant.rolname = 'purser_tenant' and pg_has_role(a.usesysid, tenant.oid, 'member')
            and not pg_has_role(a.usesysid, fleet.oid, 'member') and pg_has_role(current_user, a.usesysid, 'usage')))
  )`;

/**
 * Ends transactions that are older than the deadline of every attempt that could own them: of the attempts and operator
 * tokens that are older than the transaction, none is valid any more, or has been for `graceMs` after its deadline.
 */
export async function terminateOverdueSessions(system: Sql, graceMs: number): Promise<number> {
  const ended = await system`
    with ${tenantSession(system)}
    select pg_terminate_backend(s.pid) from tenant_session s
    where s.xact_start < now() - ${graceMs} * interval '1 millisecond'
      and not exists (
        select from purser.in_flight j join public.job_types t on t.job_type = j.job_type
        where j.started_at <= s.xact_start
          and now() < j.started_at + (t.timeout_ms + ${graceMs}) * interval '1 millisecond')
      and not exists (
        select from purser.operator_tokens o
        where o.created_at <= s.xact_start and o.expires_at > now())`;
  return ended.count;
}

/**
 * Ends sessions that another session than a tenant's has waited for, for longer than `waitedMs`; and at once those that
 * hold a whole table against others, which a tenant may where it has the right to delete rows. Their attempts are told
 * (locks/broken.ts), but not one that only waited in between, for a lock of somebody else.
 */
export async function terminateBlockingSessions(system: Sql, waitedMs: number): Promise<number> {
  return breakLocks(
    system,
    system`
      with ${tenantSession(system)}, blocking as (
        select b.pid, min(case
          when l.locktype = 'advisory' then 'an advisory lock'
          when l.relation is null then 'rows'
          when l.locktype = 'relation' then format('the whole table %s', l.relation::regclass)
          else format('rows of %s', l.relation::regclass) end) as lock
        from pg_stat_activity w cross join lateral unnest(pg_blocking_pids(w.pid)) b (pid)
        left join lateral (
          select locktype, relation from pg_locks where pid = w.pid and (not granted or locktype = 'tuple')
          order by relation limit 1) l on true
        where w.datname = current_database() and w.wait_event_type = 'Lock'
          and w.query_start < now() - ${waitedMs} * interval '1 millisecond'
          and w.pid not in (select pid from tenant_session)
        group by b.pid
      ), table_lock as (
        select l.pid, min(format('the whole table %s (%s)', t.table_name, l.mode)) as lock
        from pg_locks l join purser.protected_tables t on l.relation = to_regclass(t.table_name)
        where l.granted and l.locktype = 'relation' and l.mode in
          ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock', 'ShareUpdateExclusiveLock')
        group by l.pid
      )
      select s.pid, s.xact_start, coalesce(t.lock, case when not s.waits then b.lock end) as lock
      from tenant_session s left join blocking b on b.pid = s.pid left join table_lock t on t.pid = s.pid
      where b.pid is not null or t.pid is not null`,
  );
}
