/** Calls of a month that were refused, by what refused them. Reads only. */
import type { Queryable } from '../../db/connect.ts';

export interface RefusedCalls {
  readonly tenantId: string;
  /** `month`, `stop`, `circuit breaker`, or the kind of a scope; `removed scope` where that is gone. */
  readonly by: string;
  /** Of a scope: the model, job type and so on that it limits. */
  readonly value: string;
  readonly calls: number;
  /** Exact decimal USD: of the holds that were refused. */
  readonly neededUsd: string;
  readonly lastAt: Date;
}

/** The most frequent first. */
export async function listRefusedCalls(
  sql: Queryable,
  {
    month,
    tenantId,
    limit,
  }: { readonly month: string; readonly tenantId?: string | undefined; readonly limit: number },
): Promise<RefusedCalls[]> {
  return sql<RefusedCalls[]>`
    select f.tenant_id as "tenantId",
      case when f.stopped then 'stop' when f.breakers is not null then 'circuit breaker'
        when f.scope_id is null then 'month' when f.scope_id < 0 then coalesce(g.kind || ' of all tenants', 'removed scope')
        else coalesce(s.kind, 'removed scope') end as by,
      coalesce(f.value, '') as value, count(*)::float8 as calls, trim_scale(sum(f.needed_usd))::text as "neededUsd",
      max(f.at) as "lastAt"
    from llm_refusals f
    left join llm_scopes s on s.id = f.scope_id
    left join llm_fleet_scopes g on g.id = f.scope_id
    where f.period_start = ${month}::date ${tenantId === undefined ? sql`` : sql`and f.tenant_id = ${tenantId}`}
    group by 1, 2, 3 order by calls desc, 1, 2, 3 limit ${limit}`;
}
