/**
 * What a preview says of the members of a batch: whose they are, how old, what replaying them can cost, and how many would
 * not run now. Everything is found for all of them together.
 */
import type { Tx } from '../../db/connect.ts';
import { parseUsd } from '../../budget/money.ts';
import type { BatchAct } from './filter.ts';

/** Members that would not run now, by what holds them up; one may be held up by several. */
export interface BlockedCounts {
  /**
   * Their tenant has a hard limit for the month, and what is left of it does not cover the holds of those before them and
   * their own; of a tenant that has spent and has nothing left, all.
   */
  readonly budget: number;
  /** A limit of running jobs or of starts, of the type, the tenant or both, is full at this moment. */
  readonly cap: number;
  /** Everything, their type or their tenant is paused or stopped. */
  readonly pause: number;
}

export interface BlockedGroup extends BlockedCounts {
  readonly tenantId: string;
  readonly jobType: string;
  readonly jobs: number;
}

export interface BatchFigures {
  /** Number of tenants. */
  readonly tenants: number;
  /** Those with most members, ten at most. */
  readonly topTenants: readonly { readonly tenantId: string; readonly jobs: number }[];
  /** When the oldest member ended; for cancel, when it was made. null without members. */
  readonly oldestAt: Date | null;
  /**
   * Of a replay: what one attempt of each member can cost, by the holds of its last attempt that made LLM calls and the
   * call that was refused last. A job that made none counts as nothing.
   */
  readonly worstCaseNanoUsd: bigint;
  /** Of a replay: members of which no hold is known. */
  readonly withoutHold: number;
  /** Of a replay; zeros for other acts. */
  readonly blocked: BlockedCounts;
  /** Tenants and types with blocked members, twenty at most. */
  readonly blockedGroups: readonly BlockedGroup[];
}

const mostTenants = 10;
const mostGroups = 20;
const noneBlocked: BlockedCounts = { budget: 0, cap: 0, pause: 0 };

export async function figuresOf(tx: Tx, batchId: string, act: BatchAct): Promise<BatchFigures> {
  const topTenants = await tx<{ tenantId: string; jobs: number }[]>`
    select m.tenant_id as "tenantId", count(*)::int as jobs from purser.batch_members m
    where m.batch_id = ${batchId} group by 1 order by 2 desc, 1 limit ${mostTenants}`;
  const [whole] = await tx<{ tenants: number; oldestAt: Date | null }[]>`
    select count(distinct m.tenant_id)::int as tenants,
      min(case when ${act} = 'cancel' then j.created_at else j.finished_at end) as "oldestAt"
    from purser.batch_members m join public.jobs j on j.id = m.job_id where m.batch_id = ${batchId}`;
  const { tenants = 0, oldestAt = null } = whole ?? {};
  const of = { tenants, topTenants, oldestAt };
  if (act !== 'replay') {
    return { ...of, worstCaseNanoUsd: 0n, withoutHold: 0, blocked: noneBlocked, blockedGroups: [] };
  }
  const groups = await groupsOf(tx, batchId);
  const sum = (of: keyof BlockedCounts): number =>
    groups.reduce((total, group) => total + group[of], 0);
  return {
    ...of,
    worstCaseNanoUsd: groups.reduce((total, { usd }) => total + parseUsd(usd), 0n),
    withoutHold: groups.reduce((total, { withoutHold }) => total + withoutHold, 0),
    blocked: { budget: sum('budget'), cap: sum('cap'), pause: sum('pause') },
    blockedGroups: groups
      .filter(({ budget, cap, pause }) => budget + cap + pause > 0)
      .slice(0, mostGroups)
      .map(({ usd: _usd, withoutHold: _withoutHold, ...group }) => group),
  };
}

type GroupRow = BlockedGroup & { readonly usd: string; readonly withoutHold: number };

/** Of each tenant and type, those with most members first. A limit of a group of jobs is not looked at. */
async function groupsOf(tx: Tx, batchId: string): Promise<GroupRow[]> {
  return tx<GroupRow[]>`
    with hold as materialized (
      select m.job_id, m.tenant_id, m.job_type,
        -- What was refused after the last call would have come on top of it.
        coalesce(r.usd, 0) + coalesce(f.needed_usd, 0) as usd,
        -- Calls by the tenant's own key are not counted by its month.
        coalesce(r.month_usd, 0) + coalesce(f.needed_usd, 0) as month_usd,
        r.usd is not null or f.needed_usd is not null as is_known
      from purser.batch_members m
      left join lateral (
        select sum(l.estimated_cost_usd) as usd, coalesce(sum(l.estimated_cost_usd) filter (where not l.counts_apart), 0)
          as month_usd, max(l.created_at) as at
        from public.llm_reservations l where l.job_id = m.job_id
        group by l.attempt order by l.attempt desc nulls last limit 1) r on true
      left join lateral (
        select l.needed_usd, l.at from public.llm_refusals l where l.job_id = m.job_id order by l.id desc limit 1) f
        on r.at is null or f.at > r.at
      where m.batch_id = ${batchId}
    ), summed as (
      select h.*, sum(h.month_usd) over (partition by h.tenant_id order by h.job_id) as so_far_usd from hold h
    ), pair as materialized (
      select s.tenant_id, s.job_type, count(*)::int as jobs, sum(s.usd) as usd,
        count(*) filter (where not s.is_known)::int as without_hold,
        count(*) filter (where b.hard_limit and (s.month_usd > 0 and s.so_far_usd > b.available_usd
          or not s.is_known and b.available_usd <= 0 and b.current_month_usage_usd + b.reserved_usd > 0))::int as budget
      from summed s left join public.llm_budget_status b on b.tenant_id = s.tenant_id
      group by s.tenant_id, s.job_type
    ), full_limit as materialized (
      select l.tenant_id, l.job_type from public.job_limits l
      where l.group_name = ''
        and exists (select from pair p where l.tenant_id in ('', p.tenant_id) and l.job_type in ('', p.job_type))
        and (l.max_running <= (
          select count(*) from purser.in_flight f
          where f.limited and l.tenant_id in ('', f.tenant_id) and l.job_type in ('', f.job_type))
        or case when l.max_starts is not null then (
          select s.free = 0 from purser.free_starts(
            l.tenant_id, l.job_type, '', l.max_starts, l.per_seconds, '{}', 1) s) end)
    )
    select p.tenant_id as "tenantId", p.job_type as "jobType", p.jobs, trim_scale(p.usd)::text as usd,
      p.without_hold as "withoutHold", p.budget,
      case when exists (select from full_limit l where l.tenant_id in ('', p.tenant_id) and l.job_type in ('', p.job_type))
        then p.jobs else 0 end as cap,
      case when exists (select from public.pauses u where u.scope = 'all' or u.scope = 'job_type' and u.name = p.job_type
        or u.scope = 'tenant' and u.name = p.tenant_id) then p.jobs else 0 end as pause
    from pair p order by p.jobs desc, p.tenant_id, p.job_type`;
}
