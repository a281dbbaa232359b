/** Recomputes the counters and the pins of scopes from the reservations. */
import type { Tx } from '../db/connect.ts';
import type { DifferenceRow } from './verify-records.ts';

/** Compares each counter of each period of a scope with the reservations that are pinned to it. */
export async function compareScopes(tx: Tx): Promise<DifferenceRow[]> {
  return tx<DifferenceRow[]>`
    with pinned as (
      select n.scope_period_id,
        sum(r.estimated_cost_usd) filter (where r.status = 'RESERVED') as reserved,
        sum(r.estimated_cost_usd) filter (where r.status = 'UNKNOWN') as unknown,
        sum(u.cost_usd) as spent, count(*) filter (where r.status <> 'RELEASED') as calls,
        string_agg(distinct r.tenant_id, ',') as tenant_id
      from llm_pins n join llm_reservations r on r.id = n.reservation_id
      left join llm_usage u on u.reservation_id = r.id
      group by n.scope_period_id
    )
    select p.tenant_id, p.starts_at::text as period_start,
      c.name || ' of scope ' || s.kind || ' ' || p.value as name, c.stored, c.recomputed
    from llm_scope_periods p
    join llm_scopes s on s.id = p.scope_id
    left join pinned h on h.scope_period_id = p.id
    cross join lateral (values
      ('reserved_usd', trim_scale(p.reserved_usd)::text, trim_scale(coalesce(h.reserved, 0))::text),
      ('unknown_usd', trim_scale(p.unknown_usd)::text, trim_scale(coalesce(h.unknown, 0))::text),
      ('spent_usd', trim_scale(p.spent_usd)::text, trim_scale(coalesce(h.spent, 0))::text),
      ('calls', p.calls::text, coalesce(h.calls, 0)::text),
      ('tenant', p.tenant_id, s.tenant_id),
      ('tenant of the reservations', p.tenant_id, coalesce(h.tenant_id, p.tenant_id))
    ) c (name, stored, recomputed)
    where c.stored <> c.recomputed
    order by p.tenant_id, p.starts_at, p.id, c.name`;
}

/** Finds reservations that a scope should count and does not, or the reverse, and periods of one value that overlap. */
export async function findUnpinned(tx: Tx): Promise<DifferenceRow[]> {
  return tx<DifferenceRow[]>`
    select r.tenant_id, p.starts_at::text as period_start,
      'pin of reservation ' || r.id || ' to scope ' || s.kind || ' ' || p.value as name,
      'absent' as stored, 'present' as recomputed
    from llm_reservations r
    join (select distinct tenant_id from llm_scopes) t on t.tenant_id = r.tenant_id
    cross join lateral purser.scopes_of_call(
      r.tenant_id, r.job_id, r.job_type, r.model, r.provider_key, r.end_user) c
    join llm_scopes s on s.id = c.scope_id
    join llm_scope_periods p on p.scope_id = c.scope_id and p.value = c.value
      and p.starts_at <= r.created_at and p.ends_at > r.created_at
    left join llm_pins n on n.reservation_id = r.id and n.scope_period_id = p.id
    where n.reservation_id is null and purser.scope_counts(s.kind, r.counts_apart)
    union all
    select p.tenant_id, p.starts_at::text, 'pin of reservation ' || r.id || ' to scope ' || s.kind || ' ' || p.value,
      'present', 'absent'
    from llm_reservations r
    join llm_pins n on n.reservation_id = r.id
    join llm_scope_periods p on p.id = n.scope_period_id
    join llm_scopes s on s.id = p.scope_id
    where r.counts_apart and not purser.scope_counts(s.kind, true)
    union all
    select a.tenant_id, b.starts_at::text, 'start of a period of scope ' || a.scope_id || ' ' || a.value,
      b.starts_at::text, a.ends_at::text
    from llm_scope_periods a
    join llm_scope_periods b on b.scope_id = a.scope_id and b.value = a.value and b.starts_at > a.starts_at
    where b.starts_at < a.ends_at
    order by 1, 2, 3`;
}
