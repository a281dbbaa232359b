/**
 * Replays the ledger against the limits of its time. Its ids are given under the locks that the limits change under, so
 * their order is that of the locks. An admission is above its limit when what is spent, unknown and reserved with it is
 * more than the limit and the top-ups of that moment.
 */
import type { Tx } from '../../db/connect.ts';
import { latestOf } from './checkpoints.ts';
import type { Start } from './checkpoints.ts';

export interface Overspend {
  /** Admissions whose limit is on record: those from before its first record are not judged. */
  readonly admissions: number;
  /** Above a hard limit, and by how much in exact decimal USD. */
  readonly overspends: number;
  readonly overspentUsd: string;
  /** Above a soft limit, which admits and flags. */
  readonly beyondSoftLimits: number;
  /** The first ones. */
  readonly named: readonly {
    readonly tenantId: string;
    readonly periodStart: string;
    readonly name: string;
    readonly stored: string;
    readonly recomputed: string;
  }[];
}

interface OverspendRow {
  admissions: number;
  overspends: number;
  overspent: string;
  soft: number;
  named: Overspend['named'] | null;
}

const namedAtMost = 20;

/** Of the tenants' months. */
export async function findOverspend(tx: Tx, start: Start): Promise<Overspend> {
  return overspendOf(
    await tx<OverspendRow[]>`
    with ${latestOf(tx, start)}, change as (
      select h.budget_id, h.limit_usd, h.hard_limit, h.position,
        lead(h.position) over (partition by h.budget_id order by h.position) as until
      from llm_limit_changes h where h.budget_id is not null
    ), event as (
      select l.budget_id, l.period_start, l.id, l.tenant_id, l.reservation_id, l.event = 'reserve' as admits,
        -l.available_delta_usd as usd, 0 as top_up
      from llm_ledger l left join latest c using (budget_id, period_start)
      where l.id > ${start.afterId}::bigint and l.id > coalesce(c.position, 0) and not l.counts_apart
      union all
      select t.budget_id, t.period_start, coalesce(t.position, 0), t.tenant_id, null, false, 0, t.usd
      from llm_top_ups t where t.budget_id is not null
    ), running as (
      select e.*, sum(e.usd) over in_order as used, sum(e.top_up) over in_order as raised
      from event e window in_order as (partition by e.budget_id, e.period_start order by e.id)
    ), admission as (
      select e.tenant_id, e.period_start, e.id, e.reservation_id, e.usd, h.hard_limit, h.limit_usd + e.raised as limit_usd,
        e.used + coalesce(c.reserved_usd + c.spent_usd + c.unknown_usd, 0) as used
      from running e
      join change h on h.budget_id = e.budget_id and e.id > h.position and (h.until is null or e.id < h.until)
      left join latest c on c.budget_id = e.budget_id and c.period_start = e.period_start
      where e.admits
    ), above as (
      select a.*, row_number() over (order by a.id) as place from admission a where a.used > a.limit_usd and a.hard_limit
    )
    select (select count(*)::int from admission) as admissions, (select count(*)::int from above) as overspends,
      (select trim_scale(coalesce(sum(least(a.usd, a.used - a.limit_usd)), 0)) from above a) as overspent,
      (select count(*)::int from admission a where a.used > a.limit_usd and not a.hard_limit) as soft,
      (select json_agg(json_build_object('tenantId', a.tenant_id, 'periodStart', a.period_start,
          'name', 'overspend by reservation ' || a.reservation_id, 'stored', trim_scale(a.used)::text,
          'recomputed', 'at most ' || trim_scale(a.limit_usd)) order by a.id)
        from above a where a.place <= ${namedAtMost}) as named`,
  );
}

/** Of the periods of scopes, in dollars and in calls, by the calls that are pinned to them. */
export async function findScopeOverspend(tx: Tx, start: Start): Promise<Overspend> {
  return overspendOf(
    await tx<OverspendRow[]>`
    with change as (
      select h.*, lead(h.position) over (partition by h.scope_id order by h.position) as until
      from llm_limit_changes h where h.scope_id is not null
    ), event as (
      select n.scope_period_id, l.id, l.reservation_id, l.event = 'reserve' as admits, -l.available_delta_usd as usd,
        0 as top_up,
        case l.event when 'reserve' then 1 when 'release' then -1
          -- Billed after all.
          when 'settle' then (lag(l.event) over (partition by n.scope_period_id, l.reservation_id order by l.id)
            = 'release')::integer else 0 end as calls
      from llm_pins n join llm_ledger l on l.reservation_id = n.reservation_id
      -- All of a period that has an admission to judge: it may have begun before.
      where n.scope_period_id in (
        select o.scope_period_id from llm_ledger a join llm_pins o on o.reservation_id = a.reservation_id
        where a.id > ${start.afterId}::bigint and a.event = 'reserve')
      union all
      select t.scope_period_id, coalesce(t.position, 0), null, false, 0, t.usd, 0
      from llm_top_ups t where t.scope_period_id is not null
    ), running as (
      select e.*, sum(e.usd) over in_order as used, sum(e.top_up) over in_order as raised,
        sum(coalesce(e.calls, 0)) over in_order as used_calls
      from event e window in_order as (partition by e.scope_period_id order by e.id)
    ), admission as (
      select e.id, e.reservation_id, e.usd, e.used, e.used_calls, p.starts_at, p.value, h.tenant_id, h.kind, h.subject,
        h.period, h.hard_limit, h.limit_usd + e.raised as limit_usd, h.limit_calls
      from running e
      join llm_scope_periods p on p.id = e.scope_period_id
      join change h on h.scope_id = p.scope_id and e.id > h.position and (h.until is null or e.id < h.until)
      where e.admits
    ), above as (
      select a.*, row_number() over (order by a.id) as place
      from admission a
      where (a.used > a.limit_usd or a.used_calls > a.limit_calls)
        -- A scope of each does not bind what has a scope of its own.
        and (a.kind = 'tenant' or a.subject <> '*' or not exists (
          select from change o
          where o.tenant_id = a.tenant_id and o.kind = a.kind and o.period = a.period and o.subject = a.value
            and not o.removed and o.position < a.id and (o.until is null or o.until > a.id)))
    )
    select (select count(*)::int from admission) as admissions,
      (select count(*)::int from above a where a.hard_limit) as overspends,
      (select trim_scale(coalesce(sum(greatest(0, least(a.usd, a.used - a.limit_usd))), 0)) from above a
        where a.hard_limit) as overspent,
      (select count(*)::int from above a where not a.hard_limit) as soft,
      (select json_agg(json_build_object('tenantId', a.tenant_id, 'periodStart', a.starts_at,
          'name', 'overspend of scope ' || a.kind || ' ' || a.value || ' by reservation ' || a.reservation_id,
          'stored', trim_scale(a.used) || ' in ' || a.used_calls || ' calls',
          'recomputed', 'at most ' || concat_ws(' in ', trim_scale(a.limit_usd), a.limit_calls || ' calls'))
          order by a.id)
        from above a where a.hard_limit and a.place <= ${namedAtMost}) as named`,
  );
}

function overspendOf([row]: readonly OverspendRow[]): Overspend {
  return {
    admissions: row?.admissions ?? 0,
    overspends: row?.overspends ?? 0,
    overspentUsd: row?.overspent ?? '0',
    beyondSoftLimits: row?.soft ?? 0,
    named: row?.named ?? [],
  };
}
