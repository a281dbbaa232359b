/** How much of what was held for the calls of a month was charged in the end, per model. */
import type { Queryable } from '../db/connect.ts';
import { mapStoreErrors } from '../db/store-errors.ts';
import { UsageError } from '../errors.ts';
import { parseUsd } from './money.ts';

export interface HoldEfficiency {
  readonly provider: string;
  /** The requested model. */
  readonly model: string;
  /** First day of the UTC month whose budget paid. */
  readonly periodStart: string;
  /** Settled calls. Those that were released, or whose cost is unknown, are not counted. */
  readonly calls: number;
  readonly heldNanoUsd: bigint;
  readonly chargedNanoUsd: bigint;
  /** Calls that were charged more than their hold. */
  readonly beyondHold: number;
  /** Charged / held, of which 1 would be a hold that foresees the bill; null where nothing was held. */
  readonly efficiency: number | null;
}

export interface HoldEfficiencyRequest {
  /** `YYYY-MM`, in UTC. Default: the current month of the database's clock. */
  readonly month?: string;
  /** Default: all tenants. */
  readonly tenantId?: string;
}

interface EfficiencyRow {
  provider: string;
  model: string;
  period_start: string;
  calls: number;
  held_usd: string;
  charged_usd: string;
  beyond_hold: number;
}

/**
 * Ordered by what was held, highest first. Empty for a month without settled calls. Throws `usage` for a month that is
 * none, and `store_unavailable`.
 */
export async function holdEfficiency(
  sql: Queryable,
  request: HoldEfficiencyRequest = {},
): Promise<HoldEfficiency[]> {
  const { month } = request;
  if (month !== undefined && !/^\d{4}-(?:0[1-9]|1[0-2])$/.test(month)) {
    throw new UsageError(`"${month.slice(0, 40)}" is not a month; write it like 2026-07`);
  }
  const rows = await mapStoreErrors('read the efficiency of holds', () =>
    sumSettledHolds(sql, request),
  );
  return rows.map((row) => {
    const heldNanoUsd = parseUsd(row.held_usd);
    const chargedNanoUsd = parseUsd(row.charged_usd);
    return {
      provider: row.provider,
      model: row.model,
      periodStart: row.period_start,
      calls: row.calls,
      heldNanoUsd,
      chargedNanoUsd,
      beyondHold: row.beyond_hold,
      efficiency: heldNanoUsd === 0n ? null : Number(chargedNanoUsd) / Number(heldNanoUsd),
    };
  });
}

function sumSettledHolds(sql: Queryable, { month, tenantId }: HoldEfficiencyRequest) {
  return sql<EfficiencyRow[]>`
    select r.provider, r.model, r.period_start::text, count(*)::int as calls,
      sum(r.estimated_cost_usd)::text as held_usd, sum(u.cost_usd)::text as charged_usd,
      count(*) filter (where u.overage_usd > 0)::int as beyond_hold
    from llm_reservations r join llm_usage u on u.reservation_id = r.id
    where r.period_start = coalesce(${month === undefined ? null : `${month}-01`}::date,
        date_trunc('month', now() at time zone 'UTC')::date)
      and (${tenantId ?? null}::text is null or r.tenant_id = ${tenantId ?? null}::text)
    group by r.provider, r.model, r.period_start
    order by sum(r.estimated_cost_usd) desc, r.provider, r.model`;
}
