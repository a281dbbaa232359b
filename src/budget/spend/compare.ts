/** Whether the sums by day agree with the ledger that they sum. */
import type { Tx } from '../../db/connect.ts';
import type { Start } from '../closing/checkpoints.ts';
import type { DifferenceRow } from '../verify-records.ts';

/**
 * Recomputes every sum from the rows of the ledger up to their position. Where checkpoints keep closed months from being
 * read, the sums of each month are compared with its counters instead.
 */
export async function compareSpend(tx: Tx, { checkpoints }: Start): Promise<DifferenceRow[]> {
  const sums = checkpoints ? await compareMonths(tx) : await compareDays(tx);
  return [...sums, ...(await compareCoarser(tx))];
}

async function compareDays(tx: Tx): Promise<DifferenceRow[]> {
  return tx<DifferenceRow[]>`
    with moved as (
      select period_start, tenant_id, day, job_type, provider, model, provider_key, counts_apart,
        sum(spent_usd) as spent_usd, sum(held_usd) as held_usd, sum(unknown_usd) as unknown_usd, sum(calls) as calls,
        sum(settled_calls) as settled_calls, sum(settled_hold_usd) as settled_hold_usd
      from llm_spend_moves where id <= (select ledger_id from purser.llm_spend_position)
      group by 1, 2, 3, 4, 5, 6, 7, 8
    )
    select tenant_id, period_start::text,
      c.what || ' by day of ' || concat_ws(', ', day::text, job_type, provider, model, provider_key) as name,
      c.stored::text, c.recomputed::text
    from llm_spend_days d
    full join moved m using (period_start, tenant_id, day, job_type, provider, model, provider_key, counts_apart)
    cross join lateral (values
      ('spent_usd', trim_scale(coalesce(d.spent_usd, 0)), trim_scale(coalesce(m.spent_usd, 0))),
      ('held_usd', trim_scale(coalesce(d.held_usd, 0)), trim_scale(coalesce(m.held_usd, 0))),
      ('unknown_usd', trim_scale(coalesce(d.unknown_usd, 0)), trim_scale(coalesce(m.unknown_usd, 0))),
      ('calls', coalesce(d.calls, 0), coalesce(m.calls, 0)),
      ('settled_calls', coalesce(d.settled_calls, 0), coalesce(m.settled_calls, 0)),
      ('settled_hold_usd', trim_scale(coalesce(d.settled_hold_usd, 0)), trim_scale(coalesce(m.settled_hold_usd, 0)))
    ) c (what, stored, recomputed)
    where c.stored <> c.recomputed
    order by tenant_id, period_start, name`;
}

/** The sums without the day, and without the tenant, with those that have both. */
async function compareCoarser(tx: Tx): Promise<DifferenceRow[]> {
  return tx<DifferenceRow[]>`
    with by_month as (
      select period_start, tenant_id, job_type, provider, model, provider_key, counts_apart,
        row(sum(spent_usd), sum(held_usd), sum(unknown_usd), sum(calls), sum(settled_calls), sum(settled_hold_usd))::text
          as sums
      from llm_spend_days group by 1, 2, 3, 4, 5, 6, 7
    ), by_total as (
      select period_start, day, job_type, provider, model, provider_key, counts_apart,
        row(sum(spent_usd), sum(held_usd), sum(unknown_usd), sum(calls), sum(settled_calls), sum(settled_hold_usd))::text
          as sums
      from llm_spend_days group by 1, 2, 3, 4, 5, 6, 7
    ), months as (
      select m.*, row(spent_usd, held_usd, unknown_usd, calls, settled_calls, settled_hold_usd)::text as sums
      from llm_spend_months m
    ), totals as (
      select t.*, row(spent_usd, held_usd, unknown_usd, calls, settled_calls, settled_hold_usd)::text as sums
      from purser.llm_spend_totals t
    )
    select tenant_id, period_start::text,
      'sums by month of ' || concat_ws(', ', job_type, provider, model, provider_key) as name,
      coalesce(m.sums, 'absent') as stored, coalesce(d.sums, 'absent') as recomputed
    from months m full join by_month d using (period_start, tenant_id, job_type, provider, model, provider_key, counts_apart)
    where m.sums is distinct from d.sums
    union all
    select '(all)', period_start::text,
      'sums of all tenants of ' || concat_ws(', ', day::text, job_type, provider, model, provider_key),
      coalesce(t.sums, 'absent'), coalesce(d.sums, 'absent')
    from totals t full join by_total d using (period_start, day, job_type, provider, model, provider_key, counts_apart)
    where t.sums is distinct from d.sums
    order by 1, 2, 3`;
}

/** Tenants with a deleted budget have movements of which no counter is left. */
async function compareMonths(tx: Tx): Promise<DifferenceRow[]> {
  return tx<DifferenceRow[]>`
    with counted as (
      select tenant_id, period_start, sum(spent_usd) as spent, sum(reserved_usd) as held, sum(unknown_usd) as unknown,
        sum(own_spent_usd) as own_spent, sum(own_reserved_usd) as own_held, sum(own_unknown_usd) as own_unknown
      from llm_budget_periods
      where tenant_id not in (select tenant_id from llm_deleted_budgets)
      group by tenant_id, period_start
    ), summed as (
      select tenant_id, period_start, counts_apart, spent_usd, held_usd, unknown_usd from llm_spend_days
      union all
      select tenant_id, period_start, counts_apart, spent_usd, held_usd, unknown_usd from llm_spend_moves
      where id > (select ledger_id from purser.llm_spend_position)
    ), spend as (
      select tenant_id, period_start, sum(spent_usd) filter (where not counts_apart) as spent,
        sum(held_usd) filter (where not counts_apart) as held, sum(unknown_usd) filter (where not counts_apart) as unknown,
        sum(spent_usd) filter (where counts_apart) as own_spent, sum(held_usd) filter (where counts_apart) as own_held,
        sum(unknown_usd) filter (where counts_apart) as own_unknown
      from summed group by tenant_id, period_start
    )
    select c.tenant_id, c.period_start::text, d.name || ' by day' as name, trim_scale(d.stored)::text as stored,
      trim_scale(d.recomputed)::text as recomputed
    from counted c left join spend s using (tenant_id, period_start)
    cross join lateral (values
      ('spent_usd', coalesce(s.spent, 0), c.spent), ('reserved_usd', coalesce(s.held, 0), c.held),
      ('unknown_usd', coalesce(s.unknown, 0), c.unknown), ('own_spent_usd', coalesce(s.own_spent, 0), c.own_spent),
      ('own_reserved_usd', coalesce(s.own_held, 0), c.own_held),
      ('own_unknown_usd', coalesce(s.own_unknown, 0), c.own_unknown)
    ) d (name, stored, recomputed)
    where d.stored <> d.recomputed
    order by 1, 2, 3`;
}
