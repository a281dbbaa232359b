/** Whether the checkpoints agree with the rows that they sum. */
import type { Tx } from '../../db/connect.ts';
import type { DifferenceRow } from '../verify-records.ts';

/** Recomputes every checkpoint from all rows of its month up to its position. */
export async function compareCheckpoints(tx: Tx): Promise<DifferenceRow[]> {
  return tx<DifferenceRow[]>`
    with chain as (
      select c.*, coalesce(lag(c.position) over of_month, 0) as after, lag(c.digest) over of_month as digest_before
      from llm_period_checkpoints c
      window of_month as (partition by c.budget_id, c.period_start order by c.position)
    ), part as (
      select c.budget_id, c.period_start, c.position, count(l.id) as entries, max(l.id) as last_entry_id,
        coalesce(sum(l.reserved_delta_usd) filter (where not l.counts_apart), 0) as reserved,
        coalesce(sum(l.spent_delta_usd) filter (where not l.counts_apart), 0) as spent,
        coalesce(sum(l.unknown_delta_usd) filter (where not l.counts_apart), 0) as unknown,
        coalesce(sum(l.reserved_delta_usd) filter (where l.counts_apart), 0) as own_reserved,
        coalesce(sum(l.spent_delta_usd) filter (where l.counts_apart), 0) as own_spent,
        coalesce(sum(l.unknown_delta_usd) filter (where l.counts_apart), 0) as own_unknown,
        coalesce(sum(l.available_delta_usd), 0) as available,
        string_agg(purser.ledger_row_digest(l), '' order by l.id) filter (where l.id is not null) as digests
      from chain c
      left join llm_ledger l on l.budget_id = c.budget_id and l.period_start = c.period_start
        and l.id > c.after and l.id <= c.position
      group by c.budget_id, c.period_start, c.position
    ), summed as (
      select p.budget_id, p.period_start, p.position, p.digests, sum(p.entries) over up_to as entries,
        max(p.last_entry_id) over up_to as last_entry_id, sum(p.reserved) over up_to as reserved,
        sum(p.spent) over up_to as spent, sum(p.unknown) over up_to as unknown,
        sum(p.own_reserved) over up_to as own_reserved, sum(p.own_spent) over up_to as own_spent,
        sum(p.own_unknown) over up_to as own_unknown, sum(p.available) over up_to as available
      from part p window up_to as (partition by p.budget_id, p.period_start order by p.position)
    )
    select c.tenant_id, c.period_start::text, d.name || ' of the checkpoint at ' || c.position as name,
      d.stored, d.recomputed
    from chain c join summed s using (budget_id, period_start, position)
    cross join lateral (values
      ('reserved_usd', trim_scale(c.reserved_usd)::text, trim_scale(s.reserved)::text),
      ('spent_usd', trim_scale(c.spent_usd)::text, trim_scale(s.spent)::text),
      ('unknown_usd', trim_scale(c.unknown_usd)::text, trim_scale(s.unknown)::text),
      ('own_reserved_usd', trim_scale(c.own_reserved_usd)::text, trim_scale(s.own_reserved)::text),
      ('own_spent_usd', trim_scale(c.own_spent_usd)::text, trim_scale(s.own_spent)::text),
      ('own_unknown_usd', trim_scale(c.own_unknown_usd)::text, trim_scale(s.own_unknown)::text),
      ('available_usd', trim_scale(c.available_usd)::text, trim_scale(s.available)::text),
      ('entries', c.entries::text, s.entries::text),
      ('last_entry_id', coalesce(c.last_entry_id, 0)::text, coalesce(s.last_entry_id, 0)::text),
      ('digest', c.digest, purser.ledger_digest(c.digest_before, s.digests))
    ) d (name, stored, recomputed)
    where d.stored <> d.recomputed
    order by c.tenant_id, c.period_start, c.position, d.name`;
}
