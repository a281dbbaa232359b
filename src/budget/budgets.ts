/** A tenant's budget: its status and its monthly limit. */
import { UsageError } from '../errors.ts';
import type { Sql, Tx } from '../db/connect.ts';
import { formatUsd, parseUsd } from './money.ts';
import { mapStoreErrors } from '../db/store-errors.ts';
import { unknownTenant } from './scopes.ts';

export interface BudgetStatus {
  readonly tenantId: string;
  /** Exact decimal USD, as all amounts here. */
  readonly monthlyLimitUsd: string;
  readonly hardLimit: boolean;
  /** `plan` follows the tenant's plan, `operator` was set by an operator. */
  readonly limitSource: 'plan' | 'operator';
  /** First day of the current UTC month. */
  readonly periodStart: string;
  /** Spent plus unknown. */
  readonly currentMonthUsageUsd: string;
  readonly spentUsd: string;
  readonly unknownUsd: string;
  readonly reservedUsd: string;
  /** Of calls with the tenant's own keys that do not count against the budget; part of no other figure here. */
  readonly ownSpentUsd: string;
  readonly ownUnknownUsd: string;
  readonly ownReservedUsd: string;
  /** Added to this month alone. */
  readonly topUpUsd: string;
  /** Negative after an overage, beyond a soft limit, or after the limit was lowered. */
  readonly availableUsd: string;
  readonly resetsAt: Date;
}

interface StatusRow {
  tenant_id: string;
  monthly_limit_usd: string;
  hard_limit: boolean;
  limit_source: 'plan' | 'operator';
  period_start: string;
  current_month_usage_usd: string;
  spent_usd: string;
  unknown_usd: string;
  reserved_usd: string;
  own_spent_usd: string;
  own_unknown_usd: string;
  own_reserved_usd: string;
  top_up_usd: string;
  available_usd: string;
  resets_at: Date;
}

export interface BudgetPage {
  readonly tenantId?: string | undefined;
  /** Only tenants whose ids begin so. */
  readonly idBegins?: string | undefined;
  /** Only tenants after this one. */
  readonly afterId?: string | undefined;
  readonly limit?: number | undefined;
}

/** One tenant, or all ordered by id. A tenant without calls shows its plan's limit. */
export async function budgetStatus(sql: Sql, page: BudgetPage = {}): Promise<BudgetStatus[]> {
  const { tenantId = null, idBegins = null, afterId = null, limit = null } = page;
  const rows = await mapStoreErrors(
    'read budgets',
    () => sql<StatusRow[]>`
      select tenant_id, monthly_limit_usd, hard_limit, limit_source, period_start::text,
        current_month_usage_usd, spent_usd, unknown_usd, reserved_usd, top_up_usd, available_usd,
        resets_at, own_spent_usd, own_unknown_usd, own_reserved_usd
      from llm_budget_status
      where (${tenantId}::text is null or tenant_id = ${tenantId}::text)
        and (${idBegins}::text is null or starts_with(tenant_id, ${idBegins}::text))
        and (${afterId}::text is null or tenant_id > ${afterId}::text)
      order by tenant_id limit ${limit}`,
  );
  return rows.map((row) => ({
    tenantId: row.tenant_id,
    monthlyLimitUsd: exact(row.monthly_limit_usd),
    hardLimit: row.hard_limit,
    limitSource: row.limit_source,
    periodStart: row.period_start,
    currentMonthUsageUsd: exact(row.current_month_usage_usd),
    spentUsd: exact(row.spent_usd),
    unknownUsd: exact(row.unknown_usd),
    reservedUsd: exact(row.reserved_usd),
    ownSpentUsd: exact(row.own_spent_usd),
    ownUnknownUsd: exact(row.own_unknown_usd),
    ownReservedUsd: exact(row.own_reserved_usd),
    topUpUsd: exact(row.top_up_usd),
    availableUsd: exact(row.available_usd),
    resetsAt: row.resets_at,
  }));
}

function exact(numeric: string): string {
  return formatUsd(parseUsd(numeric));
}

export interface SetBudgetRequest {
  readonly tenantId: string;
  /** Decimal USD of at most 9 decimals, e.g. `25.00`. Zero blocks every call of a hard budget. */
  readonly monthlyLimitUsd: string;
  /** False admits calls beyond the limit and flags them. */
  readonly hard: boolean;
}

export interface BudgetLimit {
  /** Exact decimal USD. */
  readonly monthlyLimitUsd: string;
  readonly hard: boolean;
  readonly source: 'plan' | 'operator';
}

export interface BudgetChange {
  /** null: the tenant had no budget yet. */
  readonly before: BudgetLimit | null;
  readonly after: BudgetLimit;
}

/**
 * Sets a tenant's monthly limit, effective for every reserve that commits after this call. A limit below the
 * amount already used refuses new calls and changes nothing else. `record` is run in the same transaction.
 */
export async function setBudget(
  sql: Sql,
  request: SetBudgetRequest,
  record?: (tx: Tx, change: BudgetChange) => Promise<void>,
): Promise<BudgetStatus> {
  await mapStoreErrors('set a budget', () => sql.begin((tx) => setLimit(tx, request, record)));
  const [status] = await budgetStatus(sql, { tenantId: request.tenantId });
  if (status === undefined) throw unknownTenant(request.tenantId);
  return status;
}

/** As `setBudget`, in the caller's transaction. */
export async function setLimit(
  tx: Tx,
  request: SetBudgetRequest,
  record?: (tx: Tx, change: BudgetChange) => Promise<void>,
): Promise<void> {
  const limitNanoUsd = parseUsd(request.monthlyLimitUsd);
  if (limitNanoUsd < 0n || limitNanoUsd >= 10n ** 18n) {
    throw new UsageError('a monthly limit is between 0 and 999999999.999999999 USD, e.g. 25.00');
  }
  const limit = formatUsd(limitNanoUsd);
  // Waits for running reserves, which read the limit under this lock.
  await tx`select purser.lock_months(${request.tenantId}, now())`;
  const [before = null] = await tx<BudgetLimit[]>`
    select trim_scale(monthly_limit_usd) as "monthlyLimitUsd", hard_limit as hard, limit_source as source
    from llm_budgets where tenant_id = ${request.tenantId} for no key update`;
  const written = await tx`
    insert into llm_budgets (tenant_id, monthly_limit_usd, hard_limit, limit_source)
    select id, ${limit}::numeric, ${request.hard}, 'operator' from tenants
    where id = ${request.tenantId}
    on conflict (tenant_id) do update
      set monthly_limit_usd = excluded.monthly_limit_usd, hard_limit = excluded.hard_limit,
        limit_source = 'operator', updated_at = now()`;
  if (written.count === 0) throw unknownTenant(request.tenantId);
  await tx`
    select purser.raise_alerts(b.id, date_trunc('month', now() at time zone 'UTC')::date, null)
    from llm_budgets b where b.tenant_id = ${request.tenantId}`;
  const after = { monthlyLimitUsd: limit, hard: request.hard, source: 'operator' } as const;
  await record?.(tx, { before, after });
}
