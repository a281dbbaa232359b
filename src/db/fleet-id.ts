/** The fleet's id is a row of the database: it names the queues in a store that several fleets use. */
import type { Sql } from './connect.ts';

export async function renewFleetId(sql: Sql): Promise<void> {
  await sql`update purser.tenancy set fleet_id = gen_random_uuid()`;
}
