/**
 * Sessions can stay connected to a server that became read-only, for instance the old primary after a failover. Loops
 * close theirs after such a failure, and the pool connects again, to the new primary.
 */
import { codeOf } from '../errors.ts';
import type { Sql } from './connect.ts';

/** SQLSTATE of a write in a read-only transaction. */
const readOnlyTransaction = '25006';

/** Whether it, or a cause of it, is a write that a read-only session refused. */
export const isReadOnly = (error: unknown): boolean =>
  codeOf(error) === readOnlyTransaction ||
  (error instanceof Error && error.cause !== undefined && isReadOnly(error.cause));

/** After a failure by a read-only session: ends those sessions of the pools that are read-only. */
export async function closeReadOnlySessions(pools: readonly Sql[], error: unknown): Promise<void> {
  if (!isReadOnly(error)) return;
  const closing = pools.flatMap((sql) =>
    // As many at once as the pool has connections, so that each takes one.
    Array.from({ length: sql.options.max }, async () => {
      await sql`
        select pg_terminate_backend(pg_backend_pid()) where current_setting('transaction_read_only') = 'on'`;
    }),
  );
  // Each ends with the error of its own session.
  await Promise.allSettled(closing);
}
