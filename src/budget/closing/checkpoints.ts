/** Where `verify` begins: after what is behind the checkpoints of closed months. */
import type { Tx } from '../../db/connect.ts';

/** What is behind a checkpoint and is not read again. */
export interface Start {
  /** Rows of the ledger with larger ids are read. */
  readonly afterId: string;
  /** A month with a checkpoint begins with its sums, and its calls are not read. */
  readonly checkpoints: boolean;
}

export async function startOf(tx: Tx, full: boolean): Promise<Start> {
  if (full) return { afterId: '0', checkpoints: false };
  const [row] = await tx<{ id: string; checkpoints: boolean }[]>`
    select purser.checkpointed_ledger_id() as id, exists (select from llm_period_checkpoints) as checkpoints`;
  return { afterId: row?.id ?? '0', checkpoints: row?.checkpoints ?? false };
}

/** The last checkpoint of each month, none for a full run: the table `latest` of a WITH. */
export const latestOf = (tx: Tx, { checkpoints }: Start) => tx`
  latest as materialized (
    select distinct on (c.budget_id, c.period_start) c.budget_id, c.period_start, c.position, c.reserved_usd,
      c.spent_usd, c.unknown_usd, c.own_reserved_usd, c.own_spent_usd, c.own_unknown_usd
    from llm_period_checkpoints c where ${checkpoints}
    order by c.budget_id, c.period_start, c.position desc
  )`;

/**
 * A condition on the month of the row `r`: that it has no checkpoint. None where there are no checkpoints, and no outer
 * join, of which the planner expects one row.
 */
export const isRead = (tx: Tx, { checkpoints }: Start) =>
  checkpoints
    ? tx`(r.budget_id, r.period_start) in (
        select p.budget_id, p.period_start from llm_budget_periods p
        where not exists (select from llm_period_checkpoints c
          where c.budget_id = p.budget_id and c.period_start = p.period_start))`
    : tx`true`;
