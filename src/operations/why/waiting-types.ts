/** How many jobs of each type wait and stand in the queues, counted up to 1,000. */
import type { Queryable } from '../../db/connect.ts';

export interface WaitingType {
  readonly jobType: string;
  /** Due jobs that are not dispatched; 1,000 stands for that many and more. */
  readonly waiting: number;
  readonly queued: number;
  /** Of the first in line of each tenant, the one that has been due for longest; a thousand tenants are looked at. */
  readonly oldestDueAt: Date | null;
  /** Of the queued ones, the one that has been due for longest. */
  readonly oldestQueuedDueAt: Date | null;
  /** By the clock of the database: since when the older of the two has been due. */
  readonly waitMs: number;
}

/** Types without any such job are missing. Of a type, of a tenant, or of all. */
export async function waitingTypes(
  sql: Queryable,
  {
    jobType,
    tenantId,
  }: { readonly jobType?: string | undefined; readonly tenantId?: string | undefined },
): Promise<WaitingType[]> {
  const ofTenant = tenantId === undefined ? sql`` : sql`and b.tenant_id = ${tenantId}`;
  const tenants =
    tenantId === undefined
      ? sql`(purser.tenants_in_turn(t.job_type, '', null, '{}', 1000, false, null, '{}', 1)).tenant_ids`
      : sql`array[${tenantId}::text]`;
  return sql<WaitingType[]>`
    select t.*, (extract(epoch from greatest(interval '0', now() - least(t."oldestDueAt", t."oldestQueuedDueAt"))) * 1000)::float8
      as "waitMs"
    from (
      select t.job_type as "jobType",
        (select count(*)::int from (
          select from purser.waiting b where b.job_type = t.job_type ${ofTenant} limit 1000) w) as waiting,
        (select count(*)::int from purser.in_flight b
         where b.job_type = t.job_type and b.token is null ${ofTenant}) as queued,
        (select min(f.scheduled_for) from unnest(${tenants}) n (id) cross join lateral (
          select b.scheduled_for from purser.waiting b where b.job_type = t.job_type and b.tenant_id = n.id
          order by b.job_type, b.tenant_id, b.group_name, purser.rank_of(b.priority, b.scheduled_for), b.job_id
          limit 1) f) as "oldestDueAt",
        (select min(b.scheduled_for) from purser.in_flight b
         where b.job_type = t.job_type and b.token is null ${ofTenant}) as "oldestQueuedDueAt"
      from public.job_types t
      where ${jobType === undefined} or t.job_type = ${jobType ?? ''}) t
    where t.waiting > 0 or t.queued > 0
    order by t."jobType"`;
}
