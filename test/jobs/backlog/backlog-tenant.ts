/** Tenants with a limit of their backlog. */
import type { Queryable, Sql } from '../../../src/db/connect.ts';
import { codeOf } from '../../../src/errors.ts';
import { addTenant } from '../../support/tenants.ts';

export interface Limits {
  readonly jobs?: number;
  readonly bytes?: number;
}

export async function setLimits(sql: Queryable, tenantId: string, limits: Limits): Promise<void> {
  await sql`
    update tenants set max_backlog_jobs = ${limits.jobs ?? null}, max_backlog_bytes = ${limits.bytes ?? null}
    where id = ${tenantId}`;
}

export async function limitedTenant(sql: Sql, limits: Limits): Promise<string> {
  const tenantId = await addTenant(sql);
  await setLimits(sql, tenantId, limits);
  return tenantId;
}

/** Jobs of the tenant, ended ones too: nothing else may be left of a refused request. */
export async function jobsOf(sql: Queryable, tenantId: string): Promise<number> {
  const [row] = await sql<{ n: number }[]>`
    select count(*)::int as n from jobs where tenant_id = ${tenantId}`;
  return row?.n ?? 0;
}

/** Rows of all tables that a refused or ended transaction must not leave behind. */
export async function leftovers(sql: Queryable, tenantId: string): Promise<number> {
  const [row] = await sql<{ n: number }[]>`
    select ((select count(*) from purser.backlog_checks)
      + (select count(*) from job_keys k where tenant_id = ${tenantId}
         and not exists (select from jobs j where j.id = k.job_id))
      + (select count(*) from purser.waiting w where tenant_id = ${tenantId}
         and not exists (select from jobs j where j.id = w.job_id)))::int as n`;
  return row?.n ?? 0;
}

/** The ids of the jobs that were taken. Throws for a call that failed otherwise than by a full backlog. */
export async function taken(calls: readonly Promise<{ jobId: string }>[]): Promise<string[]> {
  const ends = await Promise.allSettled(calls);
  return ends.flatMap((end) => {
    if (end.status === 'fulfilled') return [end.value.jobId];
    if (codeOf(end.reason) === 'backlog_full') return [];
    throw end.reason;
  });
}
