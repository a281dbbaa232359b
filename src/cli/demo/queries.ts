/** The demo's queries: progress of the data set's jobs, and the facts of the report. */
import type { Sql } from '../../db/connect.ts';

export interface DemoTenant {
  readonly tenantId: string;
  readonly cohort: string;
  readonly cost: string;
  readonly headline: string | null;
  readonly spentUsd: string;
  readonly limitUsd: string;
  readonly refusal: string | null;
}

export interface DemoState {
  readonly tenants: number;
  readonly rowsIngested: number;
  /** Exact decimal sum of the billed cost in USD. */
  readonly billedCostUsd: string;
  /** Exact sums in other currencies, which no rate makes comparable. */
  readonly otherBilledCosts: readonly { readonly currency: string; readonly cost: string }[];
  readonly jobs: Record<string, number>;
  readonly llm: {
    readonly provider: string;
    readonly calls: number;
    readonly spentUsd: string;
    readonly reservedUsd: string;
  };
  readonly refused: readonly { tenantId: string; code: number; reason: string }[];
  readonly queueBackend: string;
}

/** Counts jobs of these tenants that have neither ended nor been parked, and first analyses not yet scheduled. */
export async function countUnfinished(sql: Sql, tenantIds: readonly string[]): Promise<number> {
  const [row] = await sql<{ unfinished: number }[]>`
    select (select count(*)::int from public.background_jobs
            where tenant_id = any(${[...tenantIds]}::text[])
              and state in ('pending', 'queued', 'running', 'failed'))
         + (select count(*)::int from public.tenant_schedules
            where tenant_id = any(${[...tenantIds]}::text[]) and enabled
              and (last_bucket is null or next_due <= now())) as unfinished`;
  return row?.unfinished ?? 0;
}

/** The most frequent reason of waiting jobs; undefined when none has a reason. */
export async function reasonOfWaiting(
  sql: Sql,
  tenantIds: readonly string[],
): Promise<string | undefined> {
  const [row] = await sql<{ reason: string }[]>`
    select state_detail->>'reason' as reason from public.background_jobs
    where tenant_id = any(${[...tenantIds]}::text[]) and state in ('pending', 'failed')
      and state_detail ? 'reason'
    group by 1 order by count(*) desc limit 1`;
  return row?.reason;
}

export async function countFinished(sql: Sql, tenantIds: readonly string[]): Promise<number> {
  const [row] = await sql<{ finished: number }[]>`
    select count(*)::int as finished from public.background_jobs
    where tenant_id = any(${[...tenantIds]}::text[])
      and state in ('completed', 'dead_letter', 'cancelled', 'parked')`;
  return row?.finished ?? 0;
}

/** One row per tenant of the data set, ordered by cost in USD. */
export async function readTenants(sql: Sql, tenantIds: readonly string[]): Promise<DemoTenant[]> {
  return sql<DemoTenant[]>`
    select t.id as "tenantId", purser.cohort_of(t.plan, t.last_active_at, now()) as cohort,
           coalesce(trim_scale(c.cost)::text, '0') as cost, a.headline,
           trim_scale(b.current_month_usage_usd)::text as "spentUsd",
           trim_scale(b.monthly_limit_usd)::text as "limitUsd",
           case when r.code = 'budget_exceeded' then '402 ' || r.code else r.code end as refusal
    from public.tenants t
    left join lateral (
      select sum(billed_cost) as cost from public.cost_records
      where tenant_id = t.id and billing_currency = 'USD'
    ) c on true
    left join lateral (
      select headline from public.analyses where tenant_id = t.id order by created_at desc limit 1
    ) a on true
    left join public.llm_budget_status b on b.tenant_id = t.id
    left join lateral (
      select j.error->>'code' as code from public.background_jobs j
      where j.tenant_id = t.id and j.job_type = 'finops_analysis' and j.state in ('dead_letter', 'parked')
      order by j.id desc limit 1
    ) r on true
    where t.id = any(${[...tenantIds]}::text[])
    order by c.cost desc nulls last, t.id`;
}

export async function readState(
  sql: Sql,
  tenantIds: readonly string[],
  uploadIds: readonly string[],
  facts: { readonly provider: string; readonly queueBackend: string },
): Promise<DemoState> {
  const ids = [...tenantIds];
  const [ingested] = await sql<{ rows: number; cost: string }[]>`
    select count(*)::int as rows,
           coalesce(trim_scale(sum(r.billed_cost) filter (where r.billing_currency = 'USD')), 0)::text as cost
    from public.cost_records r join public.cost_deliveries d on d.id = r.delivery_id
    where d.upload_id = any(${[...uploadIds]}::bigint[])`;
  const otherBilledCosts = await sql<{ currency: string; cost: string }[]>`
    select r.billing_currency as currency, trim_scale(sum(r.billed_cost))::text as cost
    from public.cost_records r join public.cost_deliveries d on d.id = r.delivery_id
    where d.upload_id = any(${[...uploadIds]}::bigint[]) and r.billing_currency <> 'USD'
    group by 1 order by 1`;
  const states = await sql<{ state: string; count: number }[]>`
    select state, count(*)::int as count from public.background_jobs
    where tenant_id = any(${ids}::text[]) group by state order by state`;
  const [money] = await sql<{ calls: number; spent: string; reserved: string }[]>`
    select (select count(*)::int from public.llm_usage where tenant_id = any(${ids}::text[])) as calls,
           trim_scale(coalesce(sum(current_month_usage_usd), 0))::text as spent,
           trim_scale(coalesce(sum(reserved_usd), 0))::text as reserved
    from public.llm_budget_status where tenant_id = any(${ids}::text[])`;
  const refused = await sql<{ tenantId: string; code: number; reason: string }[]>`
    select distinct on (tenant_id) tenant_id as "tenantId", 402 as code, error->>'message' as reason
    from public.background_jobs
    where tenant_id = any(${ids}::text[]) and state in ('dead_letter', 'parked')
      and error->>'code' = 'budget_exceeded'
    order by tenant_id, id desc`;
  return {
    tenants: ids.length,
    rowsIngested: ingested?.rows ?? 0,
    billedCostUsd: ingested?.cost ?? '0',
    otherBilledCosts,
    jobs: Object.fromEntries(states.map(({ state, count }) => [state, count])),
    llm: {
      provider: facts.provider,
      calls: money?.calls ?? 0,
      spentUsd: money?.spent ?? '0',
      reservedUsd: money?.reserved ?? '0',
    },
    refused,
    queueBackend: facts.queueBackend,
  };
}
