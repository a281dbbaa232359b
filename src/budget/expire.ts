/** Ends expired holds, so that a crashed process leaks none. */
import type { Queryable } from '../db/connect.ts';
import { lockTimeout, runBatch } from '../db/row-faults.ts';
import type { OnRowFault } from '../db/row-faults.ts';
import { mapStoreErrors } from '../db/store-errors.ts';

export interface ExpireRequest {
  readonly sql: Queryable;
  /** Default: the database's clock. */
  readonly now?: Date;
  /** Maximum reservations per call. Call again while the counts add up to it. */
  readonly limit: number;
  /** Called with the id of a reservation that cannot be ended. Default: throws the error. */
  readonly onRowFault?: OnRowFault | undefined;
}

export interface ExpiredReservations {
  readonly released: number;
  readonly unknown: number;
}

/**
 * A hold that was never sent is released; one that was sent has an unknown outcome and stays charged. Concurrent
 * sweepers skip rows that another has locked.
 */
export async function releaseExpiredReservations(
  request: ExpireRequest,
): Promise<ExpiredReservations> {
  const total = { released: 0, unknown: 0 };
  await mapStoreErrors('expire reservations', () =>
    runBatch({
      run: async (ids) => {
        const ended =
          ids === undefined ? await expireBatch(request) : await expireReservations(request, ids);
        total.released += ended.released;
        total.unknown += ended.unknown;
        return ended.released + ended.unknown;
      },
      list: () => listExpired(request),
      onRowFault: request.onRowFault,
    }),
  );
  return total;
}

async function expireBatch({ sql, now, limit }: ExpireRequest): Promise<ExpiredReservations> {
  const [counts] = await sql<ExpiredReservations[]>`
    with ${lockTimeout(sql)}
    select e.released, e.unknown
    from lock_timeout t, purser.budget_expire(
      ${now ?? null}::timestamptz, case when t.set_config is not null then ${limit}::integer end) e`;
  return counts ?? { released: 0, unknown: 0 };
}

async function listExpired({ sql, now, limit }: ExpireRequest): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select id from public.llm_reservations
    where status = 'RESERVED' and expires_at <= coalesce(${now ?? null}::timestamptz, clock_timestamp())
    order by expires_at limit ${limit}`;
  return rows.map(({ id }) => id);
}

async function expireReservations(
  { sql, now }: ExpireRequest,
  ids: readonly string[],
): Promise<ExpiredReservations> {
  const [counts] = await sql<ExpiredReservations[]>`
    with ${lockTimeout(sql)}
    select (count(*) filter (where c.closed_as = 'RELEASED'))::int as released,
           (count(*) filter (where c.closed_as = 'UNKNOWN'))::int as unknown
    from lock_timeout t, purser.budget_close(
      case when t.set_config is not null then ${[...ids]}::uuid[] end, null, ${now ?? null}::timestamptz) c`;
  return counts ?? { released: 0, unknown: 0 };
}
