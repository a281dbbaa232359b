/** Tenants and running attempts for tests that begin below the worker. */
import { randomUUID } from 'node:crypto';
import type { Queryable, Sql, Tx } from '../../src/db/connect.ts';
import { newToken } from '../../src/jobs/attempts.ts';

/** A new tenant; with `limitUsd`, a budget of that size. */
export async function addTenant(
  sql: Sql,
  budget: {
    limitUsd?: string;
    hard?: boolean;
    plan?: string;
    /** Whether the plan's limits of calls apply. */
    fairUse?: boolean;
  } = {},
): Promise<string> {
  const tenantId = `tenant-${randomUUID().slice(0, 8)}`;
  const most = budget.fairUse === true ? null : 1_000_000;
  await sql`
    insert into tenants (id, plan, max_calls_per_minute, max_calls_in_flight)
    values (${tenantId}, ${budget.plan ?? 'free'}, ${most}, ${most})`;
  if (budget.limitUsd !== undefined) {
    await sql`
      insert into llm_budgets (tenant_id, monthly_limit_usd, hard_limit, limit_source)
      values (${tenantId}, ${budget.limitUsd}::numeric, ${budget.hard ?? true}, 'operator')`;
  }
  return tenantId;
}

export interface TestAttempt {
  readonly tenantId: string;
  readonly jobId: string;
  readonly attempt: number;
  readonly token: string;
}

let lastJobId = 1_000_000;

/** A token as begin makes it, for a job id of its own. */
export async function startAttempt(sql: Sql, tenantId: string): Promise<TestAttempt> {
  lastJobId += 1;
  const jobId = String(lastJobId);
  const attempt = { tenantId, jobId, attempt: 1, token: newToken(jobId) };
  await insertAttempt(sql, attempt);
  return attempt;
}

/** The row of a running attempt, without its job. */
export async function insertAttempt(
  sql: Queryable,
  { tenantId, jobId, attempt, token }: TestAttempt,
  jobType = 'test_attempt',
): Promise<void> {
  await sql`
    insert into purser.in_flight (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at, attempt, token,
      worker_id, started_at, expires_at)
    values (${jobId}::bigint, ${tenantId}, ${jobType}, 0, now(), now() + interval '1 day', ${attempt}, ${token},
      'worker-1', now(), now() + interval '1 hour')`;
}

/** What finish does to the token: from now on the attempt is stale. */
export async function endAttempt(sql: Sql, attempt: TestAttempt): Promise<void> {
  await sql`delete from purser.in_flight where token = ${attempt.token}`;
}

/**
 * Deletes a tenant, or all, with the rows of their calls; the ledger stays. A plain delete is refused for a tenant with
 * such rows.
 */
export async function removeTenants(sql: Sql, tenantId?: string): Promise<void> {
  await sql.begin((tx) => removeTenantsIn(tx, tenantId));
}

export async function removeTenantsIn(tx: Tx, tenantId?: string): Promise<void> {
  const of = (column: string) =>
    tenantId === undefined ? tx`true` : tx`${tx(column)} = ${tenantId}`;
  const guarded = ['tenants', 'llm_budget_periods'];
  for (const table of guarded) await tx`alter table ${tx(table)} disable trigger keep_money`;
  for (const table of ['llm_usage_items', 'llm_usage', 'llm_reservations', 'llm_refusals']) {
    await tx`delete from ${tx(table)} where ${of('tenant_id')}`;
  }
  await tx`delete from tenants where ${of('id')}`;
  for (const table of guarded) await tx`alter table ${tx(table)} enable trigger keep_money`;
}
