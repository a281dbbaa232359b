/** How a tenant transaction begins, on a session that knows nothing of its last borrower, and how it ends. */
import postgres from 'postgres';
import { databaseUnavailable, idleInTransactionMs } from './outage.ts';
import type { Identity } from './transaction.ts';

interface EnteredPool {
  readonly settings: string;
  readonly switchRole: boolean;
  readonly checksConnection: boolean;
}

export interface Entry extends Identity {
  /** Begin of the transaction by the server's clock, in seconds since 1970. */
  readonly since: string;
}

const noDeadlineStatementMs = 600_000;

/**
 * A connection's last borrower may have been another tenant: its settings (a time zone, a search_path), its
 * cursors, its temporary tables, which no policy guards, and its prepared statements, which could stand in for
 * those of this one, are not for this tenant.
 */
export const forgetSession =
  'reset all; close all; deallocate all; discard sequences; discard temp; unlisten *; select pg_advisory_unlock_all()';
const mode = 'isolation level read committed read write';
/** In a transaction of its own: a ROLLBACK of the tenant's would bring back what was forgotten. */
const beginAnew = `begin; ${forgetSession}; commit; begin ${mode}`;

/** Begins the transaction and reads its identity. */
export async function enter(
  sql: postgres.ReservedSql,
  pool: EnteredPool,
  context: { readonly token: string; readonly deadlineMs?: number | undefined },
): Promise<Entry> {
  const remainingMs =
    context.deadlineMs === undefined
      ? noDeadlineStatementMs
      : Math.max(1, Math.ceil(context.deadlineMs - Date.now()));
  const entering = sql<Entry[]>`
    select set_config('role', ${pool.switchRole ? 'purser_tenant' : 'none'}, true),
           set_config('purser.token', ${context.token}, true),
           set_config('idle_in_transaction_session_timeout', ${String(idleInTransactionMs)}, true),
           set_config('statement_timeout', ${String(remainingMs)}, true),
           ${pool.checksConnection ? sql`set_config('client_connection_check_interval', '1000', true),` : sql``}
           pg_current_xact_id()::text as xid, pg_backend_pid() as pid,
           extract(epoch from now())::text as since`;
  const begin = [beginAnew, pool.settings].join('; ');
  // In this order (a query of postgres.js is sent when it is waited for), without a wait in between.
  const [begun] = await Promise.allSettled([sql.unsafe(begin), entering]);
  if (begun.status === 'rejected') throw asUnreset(begun.reason);
  const [identity] = await entering;
  return identity ?? { xid: null, pid: 0, since: '0' };
}

/** The reset fails with more temporary tables than locks, or a very short timeout; the session is then unusable. */
function asUnreset(error: unknown): unknown {
  return error instanceof postgres.PostgresError
    ? databaseUnavailable(`a session could not be reset (${error.code})`, error)
    : error;
}

/** Locks the attempt and refuses a stale token, as the last statement before COMMIT. */
export async function fence(
  sql: postgres.ReservedSql,
  completion: string | null | undefined,
  { xid }: Identity,
): Promise<Identity | undefined> {
  const [row] =
    completion === undefined
      ? await sql<Identity[]>`
          select purser.commit_fence(), pg_catalog.pg_current_xact_id_if_assigned()::text as xid,
                 pg_catalog.pg_backend_pid() as pid`
      : await sql<Identity[]>`
          select purser.complete_attempt(${completion}::text::jsonb), ${xid}::text as xid,
                 pg_catalog.pg_backend_pid() as pid
          where pg_catalog.pg_current_xact_id_if_assigned()::text = ${xid}::text`;
  return row;
}
