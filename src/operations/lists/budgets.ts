/** The budgets of tenants in the running month, page by page. Reads only. */
import type { Queryable } from '../../db/connect.ts';
import { and } from '../../jobs/search/filter.ts';

/** Amounts are exact decimal USD. */
export interface ListedBudget {
  readonly tenantId: string;
  readonly monthlyLimitUsd: string;
  readonly hardLimit: boolean;
  readonly limitSource: 'plan' | 'operator';
  readonly topUpUsd: string;
  readonly spentUsd: string;
  readonly unknownUsd: string;
  readonly reservedUsd: string;
  readonly availableUsd: string;
  /** First day of the month, in UTC. */
  readonly periodStart: string;
  readonly resetsAt: Date;
}

export interface TenantPage {
  /** Only these. */
  readonly tenantIds?: readonly string[] | undefined;
  /** Only tenants after this one: the cursor. */
  readonly afterId?: string | undefined;
  readonly limit: number;
}

/** Ordered by the id of the tenant. */
export async function listBudgets(
  sql: Queryable,
  { tenantIds, afterId, limit }: TenantPage,
): Promise<ListedBudget[]> {
  return sql<ListedBudget[]>`
    select s.tenant_id as "tenantId", trim_scale(s.monthly_limit_usd)::text as "monthlyLimitUsd",
      s.hard_limit as "hardLimit", s.limit_source as "limitSource", trim_scale(s.top_up_usd)::text as "topUpUsd",
      trim_scale(s.spent_usd)::text as "spentUsd", trim_scale(s.unknown_usd)::text as "unknownUsd",
      trim_scale(s.reserved_usd)::text as "reservedUsd", trim_scale(s.available_usd)::text as "availableUsd",
      s.period_start::text as "periodStart", s.resets_at as "resetsAt"
    from public.llm_budget_status s
    where true ${and(sql, tenantIds, (given) => sql`s.tenant_id = any(${[...given]}::text[])`)}
      ${and(sql, afterId, (given) => sql`s.tenant_id > ${given}`)}
    order by s.tenant_id limit ${limit}`;
}
