/** Giving a copied database queues of its own, by an operator. */
import type { Sql, Tx } from '../db/connect.ts';
import { renewFleetId } from '../db/fleet-id.ts';
import { performAct } from './audit.ts';
import type { Operator } from './audit.ts';

/** The roles of the database have to be stopped, which the caller checks. */
export async function separateQueuesAs(
  sql: Sql | Tx,
  operator: Operator,
  { reason }: { readonly reason?: string | undefined },
): Promise<void> {
  return performAct(sql, operator, async (tx) => {
    const { before, after } = await renewFleetId(tx);
    const change = { before: { fleetId: before }, after: { fleetId: after } };
    return { result: undefined, act: { act: 'queues_separate', reason, ...change } };
  });
}
