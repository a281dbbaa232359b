/**
 * Recomputes every counter from its rows and names each difference. Reads one REPEATABLE READ snapshot, and every
 * movement is one transaction, so the result is correct beside a running fleet. Months that are closed begin with the
 * sums of their checkpoint.
 */
import type { Sql, Tx } from '../db/connect.ts';
import { formatUsd, parseUsd } from './money.ts';
import { isRead, latestOf, startOf } from './closing/checkpoints.ts';
import type { Start } from './closing/checkpoints.ts';
import { compareCheckpoints } from './closing/compare.ts';
import { findOverspend, findScopeOverspend } from './closing/overspend.ts';
import { compareReservations, compareUsage, findOrphans } from './verify-records.ts';
import type { DifferenceRow } from './verify-records.ts';
import { compareFleet, findUnpinnedFleet } from './fleet/counters.ts';
import { compareSpend } from './spend/compare.ts';
import { compareScopes, findUnpinned } from './scope-counters.ts';

interface BudgetDifference {
  /** `(all)` for a limit of the whole fleet. */
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
  /** Of them those that begin with the sums of a checkpoint. */
  readonly checkpointed: number;
  /** Those that were read. */
  readonly reservations: number;
  /** Admissions above a hard limit of their moment, of a month or a scope, and by how much. */
  readonly overspends: number;
  readonly overspentUsd: string;
  /** Admissions that were judged, and those above a soft limit, which is no fault. */
  readonly admissions: number;
  readonly beyondSoftLimits: number;
  /** Holds that no sweep has ended a minute after their expiry. */
  readonly leakedHolds: number;
  /** Calls that were settled without usage, or sent and neither ended nor running any more. */
  readonly lostUsage: number;
  /** Cost beyond the holds: recorded, not a difference. */
  readonly overageUsd: string;
  /** Of the counters and records; empty when the ledger, the counters and the calls agree. */
  readonly differences: readonly BudgetDifference[];
  /** The first overspends, leaked holds and lost usage. */
  readonly faults: readonly BudgetDifference[];
}

/** Reads only. `full` reads everything, and compares the checkpoints too. */
export async function verifyBudgets(
  sql: Sql,
  { full = false }: { readonly full?: boolean } = {},
): Promise<BudgetVerification> {
  const result = await sql.begin('isolation level repeatable read read only', async (tx) => {
    const start = await startOf(tx, full);
    return {
      counts: await countRows(tx, start),
      overspend: await findOverspend(tx, start),
      ofScopes: await findScopeOverspend(tx, start),
      leaked: await findLeaks(tx),
      rows: [
        ...(await compareCounters(tx, start)),
        ...(await compareReservations(tx, start)),
        ...(await compareUsage(tx, start)),
        ...(await findOrphans(tx, start)),
        ...(await compareScopes(tx)),
        ...(await findUnpinned(tx)),
        ...(await compareFleet(tx)),
        ...(await findUnpinnedFleet(tx)),
        ...(await compareSpend(tx, start)),
        ...(full ? await compareCheckpoints(tx) : []),
      ],
    };
  });
  const { overspend, ofScopes, leaked } = result;
  return {
    ...result.counts,
    overspends: overspend.overspends + ofScopes.overspends,
    overspentUsd: formatUsd(parseUsd(overspend.overspentUsd) + parseUsd(ofScopes.overspentUsd)),
    admissions: overspend.admissions,
    beyondSoftLimits: overspend.beyondSoftLimits + ofScopes.beyondSoftLimits,
    differences: result.rows.map(differenceOf),
    faults: [...overspend.named, ...ofScopes.named, ...leaked.map(differenceOf)],
  };
}

const differenceOf = (row: DifferenceRow): BudgetDifference => ({
  tenantId: row.tenant_id,
  periodStart: row.period_start,
  name: row.name,
  stored: row.stored,
  recomputed: row.recomputed,
});

type RowCounts = Pick<
  BudgetVerification,
  | 'budgets'
  | 'periods'
  | 'checkpointed'
  | 'reservations'
  | 'leakedHolds'
  | 'lostUsage'
  | 'overageUsd'
>;

async function countRows(tx: Tx, start: Start): Promise<RowCounts> {
  const [row] = await tx<RowCounts[]>`
    with ${latestOf(tx, start)}, read as materialized (
      select r.status, r.sent_at, r.expires_at, u.reservation_id as usage, u.overage_usd
      from llm_reservations r
      left join llm_usage u on u.reservation_id = r.id
      where ${isRead(tx, start)}
    )
    select (select count(*)::int from llm_budgets) as budgets,
      (select count(*)::int from llm_budget_periods) as periods, (select count(*)::int from latest) as checkpointed,
      count(*)::int as reservations,
      (count(*) filter (where r.status = 'RESERVED' and r.expires_at < now() - interval '1 minute'))::int
        as "leakedHolds",
      (count(*) filter (where r.status = 'APPLIED' and r.usage is null
        or r.status = 'RESERVED' and r.sent_at is not null and r.expires_at < now() - interval '1 minute'))::int
        as "lostUsage",
      trim_scale(coalesce(sum(r.overage_usd), 0)) as "overageUsd"
    from read r`;
  if (row === undefined) throw new Error('a count has a row');
  return row;
}

async function findLeaks(tx: Tx): Promise<DifferenceRow[]> {
  return tx<DifferenceRow[]>`
    select tenant_id, period_start::text, 'hold of reservation ' || id as name, status as stored,
      'ended at ' || to_char(expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as recomputed
    from llm_reservations
    where status = 'RESERVED' and expires_at < now() - interval '1 minute'
    order by expires_at limit 20`;
}

/** Compares each counter of each period with the reservations, the usage, and the ledger. */
async function compareCounters(tx: Tx, start: Start): Promise<DifferenceRow[]> {
  return tx<DifferenceRow[]>`
    with ${latestOf(tx, start)}, held as (
      select r.budget_id, r.period_start,
        sum(r.estimated_cost_usd) filter (where r.status = 'RESERVED' and not r.counts_apart) as reserved,
        sum(r.estimated_cost_usd) filter (where r.status = 'UNKNOWN' and not r.counts_apart) as unknown,
        sum(u.cost_usd) filter (where not r.counts_apart) as spent,
        sum(r.estimated_cost_usd) filter (where r.status = 'RESERVED' and r.counts_apart) as own_reserved,
        sum(r.estimated_cost_usd) filter (where r.status = 'UNKNOWN' and r.counts_apart) as own_unknown,
        sum(u.cost_usd) filter (where r.counts_apart) as own_spent,
        count(*) filter (where r.status = 'RESERVED') as holds
      from llm_reservations r
      left join llm_usage u on u.reservation_id = r.id
      where ${isRead(tx, start)}
      group by r.budget_id, r.period_start
    ), booked as (
      select budget_id, period_start, sum(reserved_delta_usd) filter (where not counts_apart) as reserved,
        sum(unknown_delta_usd) filter (where not counts_apart) as unknown,
        sum(spent_delta_usd) filter (where not counts_apart) as spent,
        sum(reserved_delta_usd) filter (where counts_apart) as own_reserved,
        sum(unknown_delta_usd) filter (where counts_apart) as own_unknown,
        sum(spent_delta_usd) filter (where counts_apart) as own_spent
      from llm_ledger l left join latest c using (budget_id, period_start)
      where l.id > ${start.afterId}::bigint and l.id > coalesce(c.position, 0)
      group by budget_id, period_start
    )
    select p.tenant_id, p.period_start::text, d.name, d.stored::text, d.recomputed::text
    from llm_budget_periods p
    left join latest c using (budget_id, period_start)
    left join held h using (budget_id, period_start)
    left join booked b using (budget_id, period_start)
    cross join lateral (values
      ('reserved_usd from llm_reservations', p.reserved_usd, coalesce(h.reserved, 0), true),
      ('unknown_usd from llm_reservations', p.unknown_usd, coalesce(h.unknown, 0), true),
      ('spent_usd from llm_usage', p.spent_usd, coalesce(h.spent, 0), true),
      ('holds from llm_reservations', p.holds, coalesce(h.holds, 0), true),
      ('own_reserved_usd from llm_reservations', p.own_reserved_usd, coalesce(h.own_reserved, 0), true),
      ('own_unknown_usd from llm_reservations', p.own_unknown_usd, coalesce(h.own_unknown, 0), true),
      ('own_spent_usd from llm_usage', p.own_spent_usd, coalesce(h.own_spent, 0), true),
      ('reserved_usd from llm_ledger', p.reserved_usd, coalesce(c.reserved_usd, 0) + coalesce(b.reserved, 0), false),
      ('unknown_usd from llm_ledger', p.unknown_usd, coalesce(c.unknown_usd, 0) + coalesce(b.unknown, 0), false),
      ('spent_usd from llm_ledger', p.spent_usd, coalesce(c.spent_usd, 0) + coalesce(b.spent, 0), false),
      ('own_reserved_usd from llm_ledger', p.own_reserved_usd,
        coalesce(c.own_reserved_usd, 0) + coalesce(b.own_reserved, 0), false),
      ('own_unknown_usd from llm_ledger', p.own_unknown_usd,
        coalesce(c.own_unknown_usd, 0) + coalesce(b.own_unknown, 0), false),
      ('own_spent_usd from llm_ledger', p.own_spent_usd, coalesce(c.own_spent_usd, 0) + coalesce(b.own_spent, 0), false)
    ) d (name, stored, recomputed, of_calls)
    where d.stored <> d.recomputed and (c.position is null or not d.of_calls)
    order by p.tenant_id, p.period_start, d.name`;
}
