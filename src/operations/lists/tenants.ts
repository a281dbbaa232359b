/** The tenants with their plan and cohort, page by page. Reads only. */
import type { Queryable } from '../../db/connect.ts';
import { and } from '../../jobs/search/filter.ts';
import type { TenantPage } from './budgets.ts';

export interface PlannedTenant {
  readonly tenantId: string;
  readonly plan: string;
  readonly cohort: string;
  readonly weight: number;
  readonly createdAt: Date;
  readonly lastActiveAt: Date;
  /** null: no schedule of it is enabled. */
  readonly nextRunAt: Date | null;
}

/** Ordered by id. */
export async function listPlannedTenants(
  sql: Queryable,
  { tenantIds, afterId, limit }: TenantPage,
): Promise<PlannedTenant[]> {
  return sql<PlannedTenant[]>`
    select t.id as "tenantId", t.plan, purser.cohort_of(t.plan, t.last_active_at, now()) as cohort,
      coalesce(t.weight, p.weight) as weight, t.created_at as "createdAt", t.last_active_at as "lastActiveAt",
      (select min(s.next_due) from public.tenant_schedules s where s.tenant_id = t.id and s.enabled) as "nextRunAt"
    from public.tenants t join public.plans p on p.plan = t.plan
    where true ${and(sql, tenantIds, (given) => sql`t.id = any(${[...given]}::text[])`)}
      ${and(sql, afterId, (given) => sql`t.id > ${given}`)}
    order by t.id limit ${limit}`;
}
