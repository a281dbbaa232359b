/** The limits of a tenant that are in force: its own, else those of its plan. Reads only. */
import type { Queryable } from '../../db/connect.ts';
import type { LimitsInForce } from './limits.ts';

/** undefined: there is no such tenant. */
export async function limitsInForce(
  sql: Queryable,
  tenantId: string,
): Promise<LimitsInForce | undefined> {
  const [row] = await sql<LimitsInForce[]>`
    select coalesce(t.weight, p.weight) as weight,
      coalesce(t.max_backlog_jobs, p.max_backlog_jobs)::text as "maxJobs",
      coalesce(t.max_backlog_bytes, p.max_backlog_bytes)::text as "maxBytes",
      coalesce(t.max_calls_per_minute, p.max_calls_per_minute)::text as "callsPerMinute",
      coalesce(t.max_calls_in_flight, p.max_calls_in_flight)::text as "callsInFlight"
    from public.tenants t join public.plans p on p.plan = t.plan where t.id = ${tenantId}`;
  return row;
}
