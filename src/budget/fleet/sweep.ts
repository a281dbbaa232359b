/** Returns allotments whose lease has ended to the fleet, and raises the alerts of its limits. */
import type { Queryable } from '../../db/connect.ts';
import { lockTimeout } from '../../db/row-faults.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';

/** Returns the number of changes. Rows that another transaction has locked wait for the next round. */
export async function sweepFleetScopes(sql: Queryable, now?: Date): Promise<number> {
  const [row] = await mapStoreErrors(
    'sweep the limits of the fleet',
    () => sql<{ changes: number }[]>`
      with ${lockTimeout(sql)}
      select purser.sweep_fleet(case when t.set_config is not null then ${now ?? null}::timestamptz end) as changes
      from lock_timeout t`,
  );
  return row?.changes ?? 0;
}
