/** Ends holds whose time is over, so that a process that died leaks none. */
import type { Queryable } from '../db/connect.ts';
import { onStore } from './store.ts';

export interface ExpireRequest {
  readonly sql: Queryable;
  /** Default: the database's clock. */
  readonly now?: Date;
  /** Most reservations per call. Call again while the counts add up to it. */
  readonly limit: number;
}

/**
 * Never sent is released; sent has an unknown outcome and stays charged at the hold. Any number of
 * sweepers may run: each takes what no other has locked.
 */
export async function releaseExpiredReservations(
  request: ExpireRequest,
): Promise<{ released: number; unknown: number }> {
  const [counts] = await onStore(
    'expire reservations',
    () => request.sql<{ released: number; unknown: number }[]>`
      select released, unknown
      from purser.budget_expire(${request.now ?? null}::timestamptz, ${request.limit}::integer)`,
  );
  return { released: counts?.released ?? 0, unknown: counts?.unknown ?? 0 };
}
