/** An operator's acts on the budget of a tenant: its limit, a top-up, the cost of a call, the end of a month. */
import { setBudget, setLimit } from '../../budget/budgets.ts';
import type { BudgetChange, BudgetStatus, SetBudgetRequest } from '../../budget/budgets.ts';
import { closeMonth } from '../../budget/closing/close.ts';
import type { ClosedMonth } from '../../budget/closing/close.ts';
import { formatUsd, parseUsd } from '../../budget/money.ts';
import { topUpMonth } from '../../budget/resolve.ts';
import type { Sql, Tx } from '../../db/connect.ts';
import { performAct, recordAct } from '../audit.ts';
import type { Operator } from '../audit.ts';

interface Reason {
  readonly reason?: string | undefined;
}

/** The same limit again is no act. Throws as `setBudget`. */
export async function setBudgetAs(
  sql: Sql,
  operator: Operator,
  { reason, ...request }: SetBudgetRequest & Reason,
): Promise<BudgetStatus> {
  const { tenantId } = request;
  return setBudget(sql, request, (tx, change) =>
    recordLimit(tx, operator, { tenantId, reason, change }),
  );
}

/** As `setBudgetAs`, in the caller's transaction. */
export async function setLimitAs(
  tx: Tx,
  operator: Operator,
  { reason, ...request }: SetBudgetRequest & Reason,
): Promise<void> {
  const { tenantId } = request;
  return setLimit(tx, request, (_, change) =>
    recordLimit(tx, operator, { tenantId, reason, change }),
  );
}

const recordLimit = (
  tx: Tx,
  operator: Operator,
  {
    tenantId,
    reason,
    change,
  }: Reason & { readonly tenantId: string; readonly change: BudgetChange },
): Promise<void> =>
  performAct(tx, operator, () =>
    Promise.resolve({ result: undefined, act: { act: 'budget_set', tenantId, reason, ...change } }),
  );

/** Throws as `topUpMonth`. */
export async function topUpAs(
  sql: Sql | Tx,
  operator: Operator,
  {
    tenantId,
    usd,
    reason,
  }: { readonly tenantId: string; readonly usd: string; readonly reason: string },
): Promise<void> {
  return performAct(sql, operator, async (tx) => {
    await topUpMonth(tx, { tenantId, usd, reason, by: operator.name });
    const after = await topUpsOf(tx, tenantId);
    const before = { topUpsUsd: formatUsd(after - parseUsd(usd)) };
    const change = { before, after: { topUpsUsd: formatUsd(after) } };
    return {
      result: undefined,
      act: { act: 'budget_top_up', tenantId, target: { usd }, reason, ...change },
    };
  });
}

/** Of the running month, after this transaction's own, in nano-USD. */
async function topUpsOf(tx: Tx, tenantId: string): Promise<bigint> {
  const [row] = await tx<{ usd: string }[]>`
    select top_up_usd::text as usd from llm_budget_status where tenant_id = ${tenantId}`;
  return parseUsd(row?.usd ?? '0');
}

/** One act for each batch of months. Throws as `closeMonth`. */
export async function closeMonthAs(
  sql: Sql,
  operator: Operator,
  { month, reason }: Reason & { readonly month: string },
): Promise<ClosedMonth> {
  return closeMonth(sql, { month, by: operator.name }, (tx, closed) =>
    recordAct(tx, operator, {
      act: 'month_close',
      target: { month },
      reason,
      affected: closed,
      before: { closed: false },
      after: { closed: true },
    }),
  );
}
