/** Compares what is charged with the book of the provider, and settles by it what is unknown. */
import { formatUsd, parseUsd } from '../../../src/budget/money.ts';
import { recordUsage } from '../../../src/budget/settle.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { messageOf } from '../../../src/errors.ts';

export interface BookCompared {
  readonly billedCalls: number;
  readonly billNanoUsd: bigint;
  readonly spentNanoUsd: bigint;
  readonly unknownNanoUsd: bigint;
  /** Billed calls that are neither settled at their bill nor kept as unknown. */
  readonly lostUsage: number;
  /** Settled calls that the provider did not bill. */
  readonly unbilled: number;
  /** By how much the bills of unknown calls exceed their holds: charged when they are resolved. */
  readonly beyondHoldsNanoUsd: bigint;
}

/** Every billed call against its reservation. */
export async function compareBook(
  sql: Sql,
  billed: ReadonlyMap<string, bigint>,
): Promise<BookCompared> {
  const rows = await sql<{ id: string; status: string; hold: string; cost: string | null }[]>`
    select r.id, r.status, r.estimated_cost_usd as hold, u.cost_usd as cost
    from llm_reservations r left join llm_usage u on u.reservation_id = r.id`;
  let [bill, spent, unknown, beyond] = [0n, 0n, 0n, 0n];
  const accounted = new Set<string>();
  let unbilled = 0;
  for (const { id, status, hold: text, cost } of rows) {
    const hold = parseUsd(text);
    const owed = billed.get(id);
    if (status === 'UNKNOWN') unknown += hold;
    if (cost !== null) spent += parseUsd(cost);
    if (owed === undefined) {
      if (cost !== null) unbilled += 1;
      continue;
    }
    if (status === 'UNKNOWN' || (cost !== null && parseUsd(cost) === owed)) accounted.add(id);
    if (status === 'UNKNOWN' && owed > hold) beyond += owed - hold;
  }
  for (const cost of billed.values()) bill += cost;
  return {
    billedCalls: billed.size,
    billNanoUsd: bill,
    spentNanoUsd: spent,
    unknownNanoUsd: unknown,
    lostUsage: billed.size - accounted.size,
    unbilled,
    beyondHoldsNanoUsd: beyond,
  };
}

/** Settles every unknown call that the provider billed with the bill of its book. */
export async function resolveUnknown(
  sql: Sql,
  billed: ReadonlyMap<string, bigint>,
): Promise<{ readonly resolved: number; readonly faults: readonly string[] }> {
  const rows = await sql<{ id: string }[]>`
    select id from llm_reservations where status = 'UNKNOWN'`;
  const faults: string[] = [];
  let resolved = 0;
  for (const { id: reservationId } of rows) {
    const cost = billed.get(reservationId);
    if (cost === undefined) continue;
    const items = [{ class: 'request', count: 1, usd: formatUsd(cost), per: 1 }] as const;
    try {
      await recordUsage(sql, { reservationId, items });
      resolved += 1;
    } catch (error) {
      faults.push(`reservation ${reservationId} cannot be resolved: ${messageOf(error)}`);
    }
  }
  return { resolved, faults };
}
