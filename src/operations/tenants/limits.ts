/** A tenant's weight, and the limits of its backlog and its calls, changed by an operator. */
import type { Sql, Tx } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import { unknownName } from '../../names.ts';
import { performAct } from '../audit.ts';
import type { Operator } from '../audit.ts';

/** Changes only what is given; null: the plan's. */
export interface TenantLimits {
  readonly weight?: number | null;
  readonly maxJobs?: number | null;
  readonly maxBytes?: number | null;
  readonly callsPerMinute?: number | null;
  readonly callsInFlight?: number | null;
}

/** The tenant's, else the plan's; a limit of null is none. */
export interface LimitsInForce {
  readonly weight: number;
  readonly maxJobs: string | null;
  readonly maxBytes: string | null;
  readonly callsPerMinute: string | null;
  readonly callsInFlight: string | null;
}

/** Returns what is in force then. The same limits again are no act. Throws `unknown_tenant`. */
export async function setTenantLimitsAs(
  sql: Sql | Tx,
  operator: Operator,
  {
    tenantId,
    limits,
    reason,
  }: {
    readonly tenantId: string;
    readonly limits: TenantLimits;
    readonly reason?: string | undefined;
  },
): Promise<LimitsInForce> {
  return performAct(sql, operator, async (tx) => {
    const before = await lockOwnLimits(tx, tenantId);
    const result = await updateLimits(tx, tenantId, limits);
    if (result === undefined || before === undefined) {
      throw new PurserError('unknown_tenant', unknownName('tenant', tenantId));
    }
    const change = { before, after: { ...before, ...limits } };
    return { result, act: { act: 'tenant_set_limits', tenantId, reason, ...change } };
  });
}

/** Of the tenant itself; null: the plan's. */
async function lockOwnLimits(tx: Tx, tenantId: string): Promise<TenantLimits | undefined> {
  const [row] = await tx<TenantLimits[]>`
    select weight, max_backlog_jobs::float8 as "maxJobs", max_backlog_bytes::float8 as "maxBytes",
      max_calls_per_minute::float8 as "callsPerMinute", max_calls_in_flight::float8 as "callsInFlight"
    from public.tenants where id = ${tenantId} for no key update`;
  return row;
}

async function updateLimits(
  tx: Tx,
  tenantId: string,
  { weight, maxJobs, maxBytes, callsPerMinute, callsInFlight }: TenantLimits,
): Promise<LimitsInForce | undefined> {
  const [row] = await tx<LimitsInForce[]>`
    update public.tenants t
    set weight = case when ${weight === undefined} then t.weight else ${weight ?? null}::integer end,
        max_backlog_jobs = case when ${maxJobs === undefined} then t.max_backlog_jobs
          else ${maxJobs ?? null}::integer end,
        max_backlog_bytes = case when ${maxBytes === undefined} then t.max_backlog_bytes
          else ${maxBytes ?? null}::bigint end,
        max_calls_per_minute = case when ${callsPerMinute === undefined} then t.max_calls_per_minute
          else ${callsPerMinute ?? null}::integer end,
        max_calls_in_flight = case when ${callsInFlight === undefined} then t.max_calls_in_flight
          else ${callsInFlight ?? null}::integer end
    where t.id = ${tenantId}
    -- Not by a join: it would miss a tenant whose plan another command changes meanwhile.
    returning coalesce(t.weight, (select p.weight from public.plans p where p.plan = t.plan)) as weight,
      coalesce(t.max_backlog_jobs,
        (select p.max_backlog_jobs from public.plans p where p.plan = t.plan))::text as "maxJobs",
      coalesce(t.max_backlog_bytes,
        (select p.max_backlog_bytes from public.plans p where p.plan = t.plan))::text as "maxBytes",
      coalesce(t.max_calls_per_minute,
        (select p.max_calls_per_minute from public.plans p where p.plan = t.plan))::text as "callsPerMinute",
      coalesce(t.max_calls_in_flight,
        (select p.max_calls_in_flight from public.plans p where p.plan = t.plan))::text as "callsInFlight"`;
  return row;
}
