/** Recomputes what the fleet has used of its limits: allotments from the calls by the pins, periods from allotments. */
import type { Tx } from '../../db/connect.ts';
import type { DifferenceRow } from '../verify-records.ts';

/** Names each difference by the limit, and by the tenant where it is of an allotment. */
export async function compareFleet(tx: Tx): Promise<DifferenceRow[]> {
  return tx<DifferenceRow[]>`
    with booked as (
      select n.scope_period_id, sum(r.estimated_cost_usd) filter (where r.status = 'RESERVED') as reserved,
        sum(u.cost_usd) as spent, sum(r.estimated_cost_usd) filter (where r.status = 'UNKNOWN') as unknown,
        count(*) filter (where r.status <> 'RELEASED') as calls, string_agg(distinct r.tenant_id, ',') as tenant_id
      from llm_scope_periods a
      join llm_pins n on n.scope_period_id = a.id
      join llm_reservations r on r.id = n.reservation_id
      left join llm_usage u on u.reservation_id = r.id
      where a.fleet_period_id is not null
      group by n.scope_period_id
    ), period as (
      select p.*, purser.fleet_scope_title(s.kind, s.provider, s.subject)
          || case when s.removed_at is null then '' else ' (removed)' end as title
      from llm_fleet_periods p join llm_fleet_scopes s on s.id = p.fleet_scope_id
    )
    select a.tenant_id, p.starts_at::text as period_start, c.name || ' of the fleet''s limit: ' || p.title as name,
      c.stored, c.recomputed
    from llm_scope_periods a
    join period p on p.id = a.fleet_period_id
    left join booked b on b.scope_period_id = a.id
    cross join lateral (values
      ('reserved_usd', trim_scale(a.reserved_usd)::text, trim_scale(coalesce(b.reserved, 0))::text),
      ('unknown_usd', trim_scale(a.unknown_usd)::text, trim_scale(coalesce(b.unknown, 0))::text),
      ('spent_usd', trim_scale(a.spent_usd)::text, trim_scale(coalesce(b.spent, 0))::text),
      ('calls', a.calls::text, coalesce(b.calls, 0)::text),
      ('granted_usd', trim_scale(a.granted_usd)::text,
        trim_scale(greatest(a.granted_usd, a.reserved_usd + a.spent_usd + a.unknown_usd))::text),
      ('tenant of the reservations', a.tenant_id, coalesce(b.tenant_id, a.tenant_id))
    ) c (name, stored, recomputed)
    where c.stored <> c.recomputed
    union all
    select '(all)', p.starts_at::text, 'allotted_usd of the fleet''s limit: ' || p.title,
      trim_scale(p.allotted_usd)::text, trim_scale(p.departed_usd + g.usd)::text
    from period p
    cross join lateral (select coalesce(sum(a.granted_usd), 0) as usd from llm_scope_periods a
      where a.fleet_period_id = p.id) g
    where p.allotted_usd <> p.departed_usd + g.usd
    order by 1, 2, 3`;
}

/** Finds calls that a limit of the fleet should count and does not, and periods that overlap. */
export async function findUnpinnedFleet(tx: Tx): Promise<DifferenceRow[]> {
  return tx<DifferenceRow[]>`
    select r.tenant_id, p.starts_at::text as period_start,
      'pin of reservation ' || r.id || ' to the fleet''s limit: '
        || purser.fleet_scope_title(s.kind, s.provider, s.subject) as name,
      'absent' as stored, 'present' as recomputed
    from llm_fleet_scopes s
    join llm_fleet_periods p on p.fleet_scope_id = s.id
    join llm_reservations r on r.created_at >= p.starts_at and r.created_at < p.ends_at
      and purser.fleet_scope_counts(s, r.provider, r.provider_key, r.model, r.counts_apart)
    where s.filled_at is not null and s.removed_at is null and not exists (
      select from llm_pins n join llm_scope_periods a on a.id = n.scope_period_id
      where n.reservation_id = r.id and a.fleet_period_id = p.id)
    union all
    select '(all)', b.starts_at::text, 'start of a period of the fleet''s limit ' || a.fleet_scope_id,
      b.starts_at::text, a.ends_at::text
    from llm_fleet_periods a
    join llm_fleet_periods b on b.fleet_scope_id = a.fleet_scope_id and b.starts_at > a.starts_at
    where b.starts_at < a.ends_at
    order by 1, 2, 3`;
}
