/**
 * What was spent in a month, added up by tenant, job type, model and day: the sums by day, and what the ledger has
 * moved since, in the snapshot of the caller. So the result is the ledger's at every moment.
 */
import type { Fragment, Tx } from '../../db/connect.ts';

/** What sums can be grouped by. */
export const spendKeys = [
  'tenantId',
  'jobType',
  'provider',
  'model',
  'providerKey',
  'countsApart',
  'day',
] as const;
export type SpendKey = (typeof spendKeys)[number];

export interface SpendFilter {
  /** First day of a UTC month. */
  readonly month: string;
  readonly tenantId?: string | undefined;
  /** Only of these. */
  readonly tenantIds?: readonly string[] | undefined;
  readonly jobType?: string | undefined;
  readonly model?: string | undefined;
}

/** Amounts are decimal USD as the database writes them. */
export interface SpendSums {
  readonly spent: string;
  /** Holds of calls that have not ended. */
  readonly held: string;
  readonly unknown: string;
  /** Holds of the settled calls. */
  readonly settledHold: string;
  readonly calls: number;
  readonly settledCalls: number;
}

/**
 * The last id of the ledger that the sums by day have, for `spendOf` in the same snapshot: `tx` is REPEATABLE READ or
 * stricter. Read by a statement of its own, because a plan is right only for an id that it knows.
 */
export async function spendPosition(tx: Tx): Promise<string> {
  await tx`
    select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true)`;
  const [position] = await tx<
    { id: string }[]
  >`select ledger_id as id from purser.llm_spend_position`;
  if (position === undefined) throw new Error('purser.llm_spend_position has no row');
  return position.id;
}

/**
 * The sums of a month as a table `spend` of a WITH, with several rows of the same keys. It has the columns that `by` names
 * and is read from the smallest table that has them.
 */
export function spendOf(
  tx: Tx,
  { by, ...filter }: SpendFilter & { readonly by: readonly SpendKey[] },
  position: string,
): Fragment {
  const hasTenant = by.includes('tenantId') || filter.tenantId !== undefined;
  const hasDay = by.includes('day') || !hasTenant;
  const sums = tx`spent_usd, held_usd, unknown_usd, calls, settled_calls, settled_hold_usd`;
  const table = hasTenant
    ? hasDay
      ? 'public.llm_spend_days'
      : 'public.llm_spend_months'
    : 'purser.llm_spend_totals';
  const keys = tx`
    ${hasTenant ? tx`tenant_id as "tenantId",` : tx``} job_type as "jobType", provider, model,
    provider_key as "providerKey", counts_apart as "countsApart" ${hasDay ? tx`, day` : tx``}`;
  return tx`
    spend as (
      select ${keys}, ${sums} from ${tx(table)} where ${matching(tx, filter)}
      union all
      select ${keys}, ${sums} from llm_spend_moves
      where id > ${position}::bigint and ${matching(tx, filter)}
    )`;
}

const matching = (
  tx: Tx,
  { month, tenantId, tenantIds, jobType, model }: SpendFilter,
): Fragment => tx`
  period_start = ${month}::date
  ${tenantId === undefined ? tx`` : tx`and tenant_id = ${tenantId}`}
  ${tenantIds === undefined ? tx`` : tx`and tenant_id = any(${[...tenantIds]}::text[])`}
  ${jobType === undefined ? tx`` : tx`and job_type = ${jobType}`}
  ${model === undefined ? tx`` : tx`and model = ${model}`}`;

/** The names of the columns, for GROUP BY. */
export const keyNames = (tx: Tx, by: readonly SpendKey[]): Fragment =>
  listed(
    tx,
    by.map((key) => tx`${tx(key)}`),
  );

/** The columns of a row, for SELECT. */
export const keyColumns = (tx: Tx, by: readonly SpendKey[]): Fragment =>
  listed(
    tx,
    by.map((key) => (key === 'day' ? tx`day::text as day` : tx`${tx(key)}`)),
  );

function listed(tx: Tx, [first, ...others]: readonly Fragment[]): Fragment {
  if (first === undefined) throw new Error('sums are grouped by at least one column');
  return others.reduce<Fragment>((list, one) => tx`${list}, ${one}`, first);
}

export const sumColumns = (tx: Tx): Fragment => tx`
  sum(spent_usd) as spent, sum(held_usd) as held, sum(unknown_usd) as unknown, sum(settled_hold_usd) as "settledHold",
  sum(calls)::float8 as calls, sum(settled_calls)::float8 as "settledCalls"`;
