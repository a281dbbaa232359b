/** Adds the ledger's movements to the sums by day, off the path of the calls. Several callers may run it at a time. */
import type { Sql } from '../../db/connect.ts';

/** Ids of the ledger in one transaction. */
const batch = 50_000;
/** Of one call, so that a sweep that finds a long ledger goes on with its other parts. */
const mostBatches = 4;

/** Returns the number of ids that it went on by. */
export async function addUpSpend(sql: Sql): Promise<number> {
  let total = 0;
  for (let batches = 0; batches < mostBatches; batches += 1) {
    const [row] = await sql<{ ids: number }[]>`
      select purser.add_up_spend(${batch})::float8 as ids`;
    const ids = row?.ids ?? 0;
    total += ids;
    if (ids < batch) break;
  }
  return total;
}
