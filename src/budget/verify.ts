/**
 * Recomputes every counter from its rows and names each difference. Reads one REPEATABLE READ snapshot, and every
 * movement is one transaction, so the result is correct beside a running fleet.
 */
import type { Sql, Tx } from '../db/connect.ts';
import { compareReservations, compareUsage, findOrphans } from './verify-records.ts';
import type { DifferenceRow } from './verify-records.ts';
import { compareScopes, findUnpinned } from './scope-counters.ts';

interface BudgetDifference {
  readonly tenantId: string;
  /** First day of the UTC month; of a scope the instant that its period begins. */
  readonly periodStart: string;
  /** What differs, e.g. `spent_usd from llm_usage` or `ledger of reservation ...`. */
  readonly name: string;
  /** As stored, and as its rows say. */
  readonly stored: string;
  readonly recomputed: string;
}

export interface BudgetVerification {
  readonly budgets: number;
  readonly periods: number;
  readonly reservations: number;
  /** Holds that no sweep has ended a minute after their expiry. */
  readonly leakedHolds: number;
  /** Cost beyond the holds: recorded, not a difference. */
  readonly overageUsd: string;
  readonly differences: readonly BudgetDifference[];
}

/** Reads only. `differences` is empty when every figure agrees. */
export async function verifyBudgets(sql: Sql): Promise<BudgetVerification> {
  const result = await sql.begin('isolation level repeatable read read only', async (tx) => ({
    counts: await countRows(tx),
    counters: await compareCounters(tx),
    reservations: await compareReservations(tx),
    usage: await compareUsage(tx),
    ledger: await findOrphans(tx),
    scopes: [...(await compareScopes(tx)), ...(await findUnpinned(tx))],
  }));
  return {
    ...result.counts,
    differences: [
      ...result.counters,
      ...result.reservations,
      ...result.usage,
      ...result.ledger,
      ...result.scopes,
    ].map((row) => ({
      tenantId: row.tenant_id,
      periodStart: row.period_start,
      name: row.name,
      stored: row.stored,
      recomputed: row.recomputed,
    })),
  };
}

async function countRows(tx: Tx): Promise<Omit<BudgetVerification, 'differences'>> {
  const [row] = await tx<
    { budgets: number; periods: number; reservations: number; leaked: number; overage: string }[]
  >`
    select (select count(*)::int from llm_budgets) as budgets,
      (select count(*)::int from llm_budget_periods) as periods,
      (select count(*)::int from llm_reservations) as reservations,
      (select count(*)::int from llm_reservations
        where status = 'RESERVED' and expires_at < now() - interval '1 minute') as leaked,
      (select trim_scale(coalesce(sum(overage_usd), 0)) from llm_usage) as overage`;
  return {
    budgets: row?.budgets ?? 0,
    periods: row?.periods ?? 0,
    reservations: row?.reservations ?? 0,
    leakedHolds: row?.leaked ?? 0,
    overageUsd: row?.overage ?? '0',
  };
}

/** Compares each counter of each period with the reservations, the usage, and the ledger. */
async function compareCounters(tx: Tx): Promise<DifferenceRow[]> {
  return tx<DifferenceRow[]>`
    with held as (
      select r.budget_id, r.period_start,
        sum(r.estimated_cost_usd) filter (where r.status = 'RESERVED') as reserved,
        sum(r.estimated_cost_usd) filter (where r.status = 'UNKNOWN') as unknown,
        sum(u.cost_usd) as spent, count(*) filter (where r.status = 'RESERVED') as holds
      from llm_reservations r left join llm_usage u on u.reservation_id = r.id
      group by r.budget_id, r.period_start
    ), booked as (
      select budget_id, period_start, sum(reserved_delta_usd) as reserved,
        sum(unknown_delta_usd) as unknown, sum(spent_delta_usd) as spent
      from llm_ledger group by budget_id, period_start
    )
    select p.tenant_id, p.period_start::text, c.name, c.stored::text, c.recomputed::text
    from llm_budget_periods p
    left join held h using (budget_id, period_start)
    left join booked b using (budget_id, period_start)
    cross join lateral (values
      ('reserved_usd from llm_reservations', p.reserved_usd, coalesce(h.reserved, 0)),
      ('unknown_usd from llm_reservations', p.unknown_usd, coalesce(h.unknown, 0)),
      ('spent_usd from llm_usage', p.spent_usd, coalesce(h.spent, 0)),
      ('holds from llm_reservations', p.holds, coalesce(h.holds, 0)),
      ('reserved_usd from llm_ledger', p.reserved_usd, coalesce(b.reserved, 0)),
      ('unknown_usd from llm_ledger', p.unknown_usd, coalesce(b.unknown, 0)),
      ('spent_usd from llm_ledger', p.spent_usd, coalesce(b.spent, 0))
    ) c (name, stored, recomputed)
    where c.stored <> c.recomputed
    order by p.tenant_id, p.period_start, c.name`;
}
