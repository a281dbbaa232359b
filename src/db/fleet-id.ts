/** The fleet's id is a row of the database: it names the queues in a store that several fleets use. */
import type { Tx } from './connect.ts';

/** Returns the ids before and after. */
export async function renewFleetId(
  tx: Tx,
): Promise<{ readonly before: string; readonly after: string }> {
  const [row] = await tx<{ id: string }[]>`
    select fleet_id::text as id from purser.tenancy for update`;
  const [renewed] = await tx<{ id: string }[]>`
    update purser.tenancy set fleet_id = gen_random_uuid() returning fleet_id::text as id`;
  return { before: row?.id ?? '', after: renewed?.id ?? '' };
}
