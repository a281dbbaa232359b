/** Recomputes each record of money from the others, so that two faults cannot cancel out in a sum. */
import type { Tx } from '../db/connect.ts';
import { isRead } from './closing/checkpoints.ts';
import type { Start } from './closing/checkpoints.ts';

export interface DifferenceRow {
  tenant_id: string;
  period_start: string;
  name: string;
  stored: string;
  recomputed: string;
}

/** Compares each reservation with its budget, its usage and its ledger rows. */
export async function compareReservations(tx: Tx, start: Start): Promise<DifferenceRow[]> {
  return tx<DifferenceRow[]>`
    with booked as (
      select reservation_id, count(*) filter (where event = 'reserve') as opened,
        sum(reserved_delta_usd) filter (where event = 'reserve') as opened_usd,
        sum(reserved_delta_usd) as reserved, sum(unknown_delta_usd) as unknown,
        sum(spent_delta_usd) as spent, bool_and(l.tenant_id = r.tenant_id) as same_tenant,
        bool_and((l.budget_id, l.period_start) = (r.budget_id, r.period_start)) as same_period,
        bool_and(l.counts_apart = r.counts_apart) as same_counters
      from llm_ledger l join llm_reservations r on r.id = l.reservation_id
      where l.id > ${start.afterId}::bigint
      group by reservation_id
    )
    select r.tenant_id, r.period_start::text, c.what || ' of reservation ' || r.id as name,
      c.stored, c.recomputed
    from llm_reservations r
    join llm_budgets owner on owner.id = r.budget_id
    left join llm_usage u on u.reservation_id = r.id
    left join booked b on b.reservation_id = r.id
    cross join lateral (values
      ('tenant', r.tenant_id, owner.tenant_id),
      ('usage', case when r.status = 'APPLIED' then 'present' else 'absent' end,
        case when u.reservation_id is null then 'absent' else 'present' end),
      ('ledger entries of opening', '1', coalesce(b.opened, 0)::text),
      ('ledger hold', trim_scale(r.estimated_cost_usd)::text, trim_scale(coalesce(b.opened_usd, 0))::text),
      ('ledger tenant', 'same', case when b.same_tenant then 'same' else 'other' end),
      ('ledger period', 'same', case when b.same_period then 'same' else 'other' end),
      ('ledger counters', 'same', case when b.same_counters then 'same' else 'other' end),
      ('ledger reserved', trim_scale(case when r.status = 'RESERVED' then r.estimated_cost_usd else 0 end)::text,
        trim_scale(coalesce(b.reserved, 0))::text),
      ('ledger unknown', trim_scale(case when r.status = 'UNKNOWN' then r.estimated_cost_usd else 0 end)::text,
        trim_scale(coalesce(b.unknown, 0))::text),
      ('ledger spent', trim_scale(coalesce(u.cost_usd, 0))::text, trim_scale(coalesce(b.spent, 0))::text)
    ) c (what, stored, recomputed)
    where c.stored <> c.recomputed and ${isRead(tx, start)}
    order by r.tenant_id, r.period_start, r.id, c.what`;
}

/**
 * Compares each usage with its reservation and its items. Usage from before there were items has none; then only what
 * follows from the reservation is compared.
 */
export async function compareUsage(tx: Tx, start: Start): Promise<DifferenceRow[]> {
  return tx<DifferenceRow[]>`
    with items as (
      select reservation_id, count(*) as items, string_agg(distinct tenant_id, ',') as tenant_id,
        ceil(sum(count * coalesce(usd, 0)
          * case per when 1000000 then 0.000001 when 1000 then 0.001 else 1 end) * 1e9) * 1e-9 as cost,
        sum(amount_usd) - sum(count * coalesce(usd, 0)
          * case per when 1000000 then 0.000001 when 1000 then 0.001 else 1 end) as amounts_off,
        coalesce(sum(count) filter (where purser.usage_total(class) = 'input'), 0) as input,
        coalesce(sum(count) filter (where purser.usage_total(class) = 'output'), 0) as output,
        coalesce(sum(count) filter (where class like 'cache\\_read%'), 0) as cached,
        coalesce(sum(count) filter (where class = 'reasoning'), 0) as reasoning
      from llm_usage_items i ${ofRead(tx, start)} group by reservation_id
    )
    select r.tenant_id, r.period_start::text, c.what || ' of reservation ' || r.id as name,
      c.stored, c.recomputed
    from llm_usage u
    join llm_reservations r on r.id = u.reservation_id
    left join items i on i.reservation_id = u.reservation_id
    cross join lateral (values
      ('usage tenant', u.tenant_id, r.tenant_id),
      ('usage overage', trim_scale(u.overage_usd)::text,
        trim_scale(greatest(u.cost_usd - r.estimated_cost_usd, 0))::text),
      ('usage items', u.items::text, coalesce(i.items, 0)::text),
      ('usage cost', trim_scale(u.cost_usd)::text, trim_scale(coalesce(i.cost, u.cost_usd))::text),
      ('usage item amounts', '0', trim_scale(coalesce(i.amounts_off, 0))::text),
      ('usage item tenant', coalesce(i.tenant_id, r.tenant_id), r.tenant_id),
      ('usage input tokens', u.input_tokens::text, coalesce(i.input, u.input_tokens)::text),
      ('usage output tokens', u.output_tokens::text, coalesce(i.output, u.output_tokens)::text),
      ('usage cached tokens', u.cached_tokens::text, coalesce(i.cached, u.cached_tokens)::text),
      ('usage reasoning tokens', u.reasoning_tokens::text, coalesce(i.reasoning, u.reasoning_tokens)::text)
    ) c (what, stored, recomputed)
    where c.stored <> c.recomputed and ${isRead(tx, start)}
    order by r.tenant_id, r.period_start, r.id, c.what`;
}

const ofRead = (tx: Tx, start: Start) =>
  start.checkpoints
    ? tx`where i.reservation_id in (select r.id from llm_reservations r where ${isRead(tx, start)})`
    : tx``;

/**
 * Finds ledger rows without a budget, a period or a reservation, and periods of another tenant than their budget's.
 * A deleted budget keeps its ledger; there each reservation was opened exactly once.
 */
export async function findOrphans(tx: Tx, start: Start): Promise<DifferenceRow[]> {
  return tx<DifferenceRow[]>`
    select l.tenant_id, l.period_start::text, 'budget of ledger entry ' || l.id as name,
      l.budget_id::text as stored, 'absent' as recomputed
    from llm_ledger l
    left join llm_budgets b on b.id = l.budget_id
    left join llm_deleted_budgets d on d.budget_id = l.budget_id and d.tenant_id = l.tenant_id
    where b.id is null and d.budget_id is null and l.id > ${start.afterId}::bigint
    union all
    select l.tenant_id, l.period_start::text, 'period of ledger entry ' || l.id, l.period_start::text, 'absent'
    from llm_ledger l
    join llm_budgets b on b.id = l.budget_id
    left join llm_budget_periods p on p.budget_id = l.budget_id and p.period_start = l.period_start
    where p.budget_id is null and l.id > ${start.afterId}::bigint
    union all
    select l.tenant_id, l.period_start::text, 'reservation of ledger entry ' || l.id,
      l.reservation_id::text, 'absent'
    from llm_ledger l
    join llm_budgets b on b.id = l.budget_id
    left join llm_reservations r on r.id = l.reservation_id
    where r.id is null and l.id > ${start.afterId}::bigint
    union all
    select min(l.tenant_id), min(l.period_start)::text,
      'ledger entries of opening of reservation ' || l.reservation_id, '1',
      (count(*) filter (where l.event = 'reserve'))::text
    from llm_ledger l
    join llm_deleted_budgets d on d.budget_id = l.budget_id
    where ${start.afterId}::bigint = 0
    group by l.reservation_id
    having count(*) filter (where l.event = 'reserve') <> 1
    union all
    select p.tenant_id, p.period_start::text, 'tenant of period', p.tenant_id, b.tenant_id
    from llm_budget_periods p
    join llm_budgets b on b.id = p.budget_id
    where p.tenant_id <> b.tenant_id
    order by 1, 2, 3`;
}
