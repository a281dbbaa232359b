/** Tenants and running attempts for tests that begin below the worker. */
import { randomUUID } from 'node:crypto';
import type { Sql } from '../../src/db/connect.ts';

/** A new tenant; with `limitUsd`, a budget of that size. */
export async function addTenant(
  sql: Sql,
  budget: { limitUsd?: string; hard?: boolean; plan?: string } = {},
): Promise<string> {
  const tenantId = `tenant-${randomUUID().slice(0, 8)}`;
  await sql`insert into tenants (id, plan) values (${tenantId}, ${budget.plan ?? 'free'})`;
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
  const attempt = { tenantId, jobId: String(lastJobId), attempt: 1, token: randomUUID() };
  await sql`
    insert into purser.context_tokens (token, tenant_id, job_id, attempt)
    values (${attempt.token}, ${tenantId}, ${attempt.jobId}::bigint, ${attempt.attempt})`;
  return attempt;
}

/** What finish does to the token: from now on the attempt is stale. */
export async function endAttempt(sql: Sql, attempt: TestAttempt): Promise<void> {
  await sql`delete from purser.context_tokens where token = ${attempt.token}`;
}
