/**
 * Closes months that have ended: a checkpoint of each keeps the sums of its ledger, from which `verify` goes on. What
 * moves later opens the month again, and the next checkpoint adds it.
 */
import type { Sql, Tx } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import { UsageError } from '../../errors.ts';

/** Whole months that ended `afterMs` ago, with no open hold. Returns how many it closed; of two callers one closes each. */
export async function closeEndedMonths(
  sql: Sql,
  { afterMs, limit }: { readonly afterMs: number; readonly limit: number },
): Promise<number> {
  const [row] = await sql<{ closed: number }[]>`
    select purser.close_months(null,
      date_trunc('month', (now() - ${afterMs} * interval '1 millisecond') at time zone 'UTC')::date,
      ${limit}, 'scheduler') as closed`;
  return row?.closed ?? 0;
}

export interface ClosedMonth {
  readonly month: string;
  readonly closed: number;
  /** Still open: with a hold that has not ended, or locked by a running call. */
  readonly open: number;
}

const batch = 200;

/**
 * Closes a month of all tenants, e.g. `2026-10`, in batches. It must have ended. `record` is run in the transaction of
 * each batch that closed one.
 */
export async function closeMonth(
  sql: Sql,
  request: { readonly month: string; readonly by: string },
  record?: (tx: Tx, closed: number) => Promise<void>,
): Promise<ClosedMonth> {
  const start = monthStart(request.month);
  return mapStoreErrors('close a month', async () => {
    const [clock] = await sql<{ ended: boolean }[]>`
      select ${start}::date < date_trunc('month', now() at time zone 'UTC') as ended`;
    if (clock?.ended !== true) {
      throw new UsageError(
        `month ${request.month} has not ended (UTC); name one that has, e.g. --month 2026-01`,
      );
    }
    let closed = 0;
    for (let more = true; more;) {
      const some = await sql.begin(async (tx) => {
        const some = await closeSome(tx, start, request.by);
        if (some > 0) await record?.(tx, some);
        return some;
      });
      closed += some;
      more = some === batch;
    }
    const [left] = await sql<{ open: number }[]>`
      select count(*)::int as open from llm_budget_periods
      where closed_at is null and period_start = ${start}::date`;
    return { month: request.month, closed, open: left?.open ?? 0 };
  });
}

async function closeSome(sql: Tx, start: string, by: string): Promise<number> {
  const [row] = await sql<{ closed: number }[]>`
    select purser.close_months(${start}::date, ${start}::date + 1, ${batch}, ${by}) as closed`;
  return row?.closed ?? 0;
}

function monthStart(month: string): string {
  if (!/^[1-9]\d{3}-(0[1-9]|1[0-2])$/.test(month)) {
    throw new UsageError(`a month is written like 2026-01, not ${JSON.stringify(month)}`);
  }
  return `${month}-01`;
}
