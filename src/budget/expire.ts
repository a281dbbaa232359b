/** Ends expired holds, so that a process that died leaks none. */
import type { Queryable } from '../db/connect.ts';
import { mapStoreErrors } from '../db/store-errors.ts';

export interface ExpireRequest {
  readonly sql: Queryable;
  /** Default: the database's clock. */
  readonly now?: Date;
  /** Maximum reservations per call. Call again while the counts add up to it. */
  readonly limit: number;
}

/**
 * A hold that was never sent is released; one that was sent has an unknown outcome and stays charged. Concurrent
 * sweepers skip rows that another has locked.
 */
export async function releaseExpiredReservations(
  request: ExpireRequest,
): Promise<{ released: number; unknown: number }> {
  const [counts] = await mapStoreErrors(
    'expire reservations',
    () => request.sql<{ released: number; unknown: number }[]>`
      select released, unknown
      from purser.budget_expire(${request.now ?? null}::timestamptz, ${request.limit}::integer)`,
  );
  return { released: counts?.released ?? 0, unknown: counts?.unknown ?? 0 };
}
