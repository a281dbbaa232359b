/** The tenants as an operator looks them through: what each has, what waits and runs, and its money. Reads only. */
import type { Queryable } from '../../db/connect.ts';

/** Backlogs are counted so far. */
export const maxBacklogCounted = 1_000;
/** Of the newest jobs of a tenant, those that have ended tell how long jobs wait. */
const lookedAtJobs = 200;
const waitsTaken = 40;

export interface ListedTenant {
  readonly tenantId: string;
  readonly plan: string;
  readonly cohort: string;
  readonly lastActiveAt: Date;
  readonly nextRunAt: Date | null;
  readonly isPaused: boolean;
  /** Jobs that have not begun: waiting, later, parked and queued. One more than `maxBacklogCounted` stands for more. */
  readonly backlog: number;
  readonly running: number;
  /** From the time that a job was due to the begin of its last attempt; of its newest jobs that ended. */
  readonly p95WaitMs: number | null;
  /** Exact decimal USD, of the running month, as the following. */
  readonly spentUsd: string;
  readonly unknownUsd: string;
  readonly heldUsd: string;
  /** With top-ups. */
  readonly limitUsd: string;
  /** Calls that were refused in the running month. */
  readonly refused: number;
}

export interface TenantPage {
  readonly tenantId?: string | undefined;
  /** Only tenants whose ids begin so. */
  readonly idBegins?: string | undefined;
  /** Only tenants after this one: the cursor. */
  readonly afterId?: string | undefined;
  readonly limit: number;
}

/** Ordered by id. Every figure is found by an index of the tenant, for those of the page only. */
export async function listTenants(sql: Queryable, page: TenantPage): Promise<ListedTenant[]> {
  const { tenantId, idBegins, afterId, limit } = page;
  return sql<ListedTenant[]>`
    with shown as materialized (
      select t.id, t.plan, t.last_active_at from public.tenants t
      where true ${tenantId === undefined ? sql`` : sql`and t.id = ${tenantId}`}
        ${idBegins === undefined ? sql`` : sql`and starts_with(t.id, ${idBegins})`}
        ${afterId === undefined ? sql`` : sql`and t.id > ${afterId}`}
      order by t.id limit ${limit}
    ), flight as materialized (
      select f.tenant_id, count(*) as running from purser.in_flight f where f.token is not null group by f.tenant_id
    ), month as (
      select date_trunc('month', now() at time zone 'UTC')::date as start
    )
    select t.id as "tenantId", t.plan, purser.cohort_of(t.plan, t.last_active_at, now()) as cohort,
      t.last_active_at as "lastActiveAt", s.next_due as "nextRunAt",
      exists (select from public.pauses p where p.scope = 'tenant' and p.name = t.id) as "isPaused",
      b.jobs::int as backlog,
      coalesce(f.running, 0)::int as running, w.p95::float8 as "p95WaitMs",
      trim_scale(m.spent_usd)::text as "spentUsd", trim_scale(m.unknown_usd)::text as "unknownUsd",
      trim_scale(m.reserved_usd)::text as "heldUsd", trim_scale(m.monthly_limit_usd + m.top_up_usd)::text as "limitUsd",
      r.calls::float8 as refused
    from shown t
    left join flight f on f.tenant_id = t.id
    cross join lateral purser.backlog(t.id, ${maxBacklogCounted + 1}) b
    left join lateral (
      select min(d.next_due) as next_due from public.tenant_schedules d where d.tenant_id = t.id and d.enabled) s on true
    left join lateral (
      select percentile_cont(0.95) within group (
        order by greatest(0, extract(epoch from j.started_at - j.scheduled_for)) * 1000) as p95
      from (
        select n.started_at, n.scheduled_for from (
          select k.id, k.started_at, k.scheduled_for from public.jobs k
          where k.tenant_id = t.id order by k.id desc limit ${lookedAtJobs}) n
        where n.started_at is not null order by n.id desc limit ${waitsTaken}) j) w on true
    left join lateral (
      select count(*) as calls from public.llm_refusals l, month where l.tenant_id = t.id and l.period_start = month.start) r on true
    join public.llm_budget_status m on m.tenant_id = t.id
    order by t.id`;
}
