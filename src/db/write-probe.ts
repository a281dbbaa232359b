/**
 * Proves that the database accepts writes: a session that answers reads can be connected to a server that became
 * read-only, for instance the old primary after a failover.
 */
import { codeOf, messageOf, PurserError } from '../errors.ts';
import type { Queryable, Sql } from './connect.ts';
import { isStoreUnavailable } from './store-errors.ts';

/** SQLSTATE of a write in a read-only transaction. */
const readOnlyTransaction = '25006';
const diskFull = '53100';

class Rollback extends Error {}

/**
 * Inserts a row and rolls back. Throws `database_read_only` or `database_refuses_writes` (503), or the driver's
 * error when the database is unavailable.
 */
export async function probeDatabaseWrite(sql: Sql): Promise<void> {
  let refusal: unknown;
  await sql
    .begin(async (tx) => {
      await insertHeartbeat(tx);
      throw new Rollback();
    })
    .catch((error: unknown) => {
      if (!(error instanceof Rollback)) refusal = error;
    });
  if (refusal === undefined) return;
  const code = codeOf(refusal);
  const answered = code === readOnlyTransaction || code === diskFull;
  if (!answered && isStoreUnavailable(refusal)) throw refusal;
  throw code === readOnlyTransaction
    ? new PurserError('database_read_only', 'the database is read-only', {
        status: 503,
        cause: refusal,
      })
    : new PurserError(
        'database_refuses_writes',
        `the database refuses writes: ${messageOf(refusal)}`,
        { status: 503, cause: refusal },
      );
}

async function insertHeartbeat(tx: Queryable): Promise<void> {
  await tx`
    insert into public.heartbeats (process_id, role, version, hostname, pid)
    values ('write-probe-' || gen_random_uuid(), 'web', '', '', 0)`;
}
