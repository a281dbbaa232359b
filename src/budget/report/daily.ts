/** The spent money of one month by day, for files that another tool reads. */
import type { Sql, Tx } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import { formatUsd, parseUsd } from '../money.ts';
import { monthOf } from './month.ts';
import type { ReportRequest } from './month.ts';

/** What one tenant spent on one UTC day by one job type, model and key. */
export interface DailyCost {
  readonly tenantId: string;
  readonly jobType: string;
  readonly provider: string;
  readonly model: string;
  /** Whose key paid: `platform`, or a name such as `own:openai`. */
  readonly providerKey: string;
  /** Of the calls' reservations. */
  readonly day: string;
  readonly spentUsd: string;
  readonly calls: number;
  /** Input and output. */
  readonly tokens: string;
}

/** The same money by day, in one snapshot: the sum over all days is the report's `spentUsd`, of `total` and `apart`. */
export async function dailyCosts(
  sql: Sql,
  request: ReportRequest = {},
): Promise<{ month: string; days: readonly DailyCost[] }> {
  return mapStoreErrors('report on budgets', () =>
    sql.begin('isolation level repeatable read read only', async (tx) => {
      const { month } = await monthOf(tx, request.month);
      const days = await sumDays(tx, month, request.tenantId);
      return {
        month,
        days: days.map((row) => ({ ...row, spentUsd: formatUsd(parseUsd(row.spentUsd)) })),
      };
    }),
  );
}

/** Days of the month only: a reservation near its end belongs to the month that its ledger entries name. */
async function sumDays(tx: Tx, month: string, tenantId: string | undefined): Promise<DailyCost[]> {
  return tx<DailyCost[]>`
    with moved as (
      select l.reservation_id, min(l.tenant_id) as tenant_id, sum(l.spent_delta_usd) as spent, min(l.at) as at,
        bool_or(l.counts_apart) as counts_apart
      from llm_ledger l
      where l.period_start = ${month}::date
        and (${tenantId ?? null}::text is null or l.tenant_id = ${tenantId ?? null}::text)
      group by l.reservation_id
      having sum(l.spent_delta_usd) <> 0
    )
    select m.tenant_id as "tenantId", coalesce(to_jsonb(r) ->> 'job_type', j.job_type, '') as "jobType",
      coalesce(r.provider, '') as provider, coalesce(r.model, '') as model,
      least(greatest((coalesce(r.created_at, m.at) at time zone 'UTC')::date, ${month}::date),
        (${month}::date + interval '1 month - 1 day')::date)::text as day,
      coalesce(r.provider_key, case when m.counts_apart then 'own' else 'platform' end) as "providerKey",
      sum(m.spent) as "spentUsd", count(*)::int as calls,
      coalesce(sum(u.input_tokens + u.output_tokens), 0)::text as tokens
    from moved m
    left join llm_reservations r on r.id = m.reservation_id
    left join llm_usage u on u.reservation_id = r.id
    left join jobs j on j.id = r.job_id
    group by 1, 2, 3, 4, 5, 6
    order by 5, 1, 2, 3, 4, 6`;
}
