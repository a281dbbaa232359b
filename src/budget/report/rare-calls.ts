/** Calls of a month that are few: of unknown outcome, and settled at a cost that was assumed. Found by indexes of their own. */
import type { Tx } from '../../db/connect.ts';
import type { RowKey } from './row-key.ts';

export async function countUnknown(
  tx: Tx,
  month: string,
  tenantId: string | undefined,
): Promise<(RowKey & { readonly unknownCalls: number })[]> {
  return tx<(RowKey & { readonly unknownCalls: number })[]>`
    select r.tenant_id as "tenantId", coalesce(r.job_type, j.job_type, '') as "jobType", r.provider, r.model,
      r.provider_key as "providerKey", r.counts_apart as "countsApart", count(*)::int as "unknownCalls"
    from llm_reservations r left join jobs j on j.id = r.job_id and r.job_type is null
    where r.status = 'UNKNOWN' and r.period_start = ${month}::date
      and (${tenantId ?? null}::text is null or r.tenant_id = ${tenantId ?? null}::text)
    group by 1, 2, 3, 4, 5, 6`;
}

/** Found by the class of their usage; `assumed` says whether it still is. */
export async function sumAssumed(
  tx: Tx,
  month: string,
  tenantId: string | undefined,
): Promise<(RowKey & { readonly spent: string; readonly hold: string })[]> {
  return tx<(RowKey & { readonly spent: string; readonly hold: string })[]>`
    select r.tenant_id as "tenantId", coalesce(r.job_type, j.job_type, '') as "jobType", r.provider, r.model,
      r.provider_key as "providerKey", r.counts_apart as "countsApart", sum(u.cost_usd) as spent,
      sum(r.estimated_cost_usd) as hold
    from (
      select distinct p.tenant_id from llm_budget_periods p
      where p.period_start = ${month}::date
        and (${tenantId ?? null}::text is null or p.tenant_id = ${tenantId ?? null}::text)) p
    cross join lateral (
      select i.reservation_id from llm_usage_items i where i.tenant_id = p.tenant_id and i.class = 'assumed') i
    join llm_usage u on u.reservation_id = i.reservation_id and u.assumed
    join llm_reservations r on r.id = u.reservation_id and r.period_start = ${month}::date
    left join jobs j on j.id = r.job_id and r.job_type is null
    group by 1, 2, 3, 4, 5, 6`;
}
