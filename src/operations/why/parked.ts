/** Parked jobs of a tenant, of a type or of the fleet, and jobs of a tenant that wait for their time. */
import type { Queryable } from '../../db/connect.ts';
import { option, purserCommand } from '../shell-text.ts';
import { namesText } from './cause.ts';
import type { Cause } from './cause.ts';

const mostCounted = 1_000;

const jobsText = (count: number): string =>
  count >= mostCounted ? '1,000+ jobs' : `${count} job${count === 1 ? '' : 's'}`;
const isOrAre = (count: number): string => (count === 1 ? 'is' : 'are');

interface ParkedTenant {
  readonly tenantId: string;
  readonly parked: number;
}

/**
 * Of the type, or else of the fleet: the tenants with most of the newest parked jobs. Older ones than those are not
 * counted, so that the cost does not grow.
 */
export async function parkedOf(sql: Queryable, jobType: string | undefined): Promise<Cause[]> {
  const tenants = await sql<ParkedTenant[]>`
    select tenant_id as "tenantId", count(*)::int as parked
    from (
      select p.tenant_id from purser.parked p
      ${jobType === undefined ? sql`` : sql`where p.job_type = ${jobType}`}
      order by p.job_id desc limit ${mostCounted}) newest
    group by tenant_id order by parked desc, tenant_id`;
  const [first] = tenants;
  if (first === undefined) return [];
  const parked = tenants.reduce((sum, tenant) => sum + tenant.parked, 0);
  const names = tenants.map((tenant) => `${tenant.tenantId} (${tenant.parked})`);
  return [
    {
      code: 'budget',
      says: `${jobsText(parked)}${jobType === undefined ? '' : ` of ${jobType}`} ${isOrAre(parked)} parked until a budget has room or a time has come, by tenant: ${namesText(names, 5)}`,
      lift: purserCommand('why', option('tenant', first.tenantId)),
      facts: { parked, tenants: tenants.length },
    },
  ];
}

interface HeldRow {
  readonly parked: number;
  readonly neededUsd: string | null;
  readonly availableUsd: string | null;
  /** What is missing for all of them; null where nothing is. */
  readonly missingUsd: string | null;
  readonly resetsAt: Date | null;
  readonly later: number;
  readonly nextAt: Date | null;
}

export async function parkedAndLater(sql: Queryable, tenantId: string): Promise<Cause[]> {
  const [held] = await sql<HeldRow[]>`
    with parked as materialized (
      select needed_usd from purser.parked where tenant_id = ${tenantId}
      order by priority desc, scheduled_for limit ${mostCounted}
    ), sums as (
      select count(*)::int as parked, sum(needed_usd) as needed from parked
    ), later as materialized (
      select scheduled_for from purser.later where tenant_id = ${tenantId} limit ${mostCounted}
    )
    select s.parked, trim_scale(s.needed)::text as "neededUsd", trim_scale(b.available_usd)::text as "availableUsd",
      case when s.needed > b.available_usd then trim_scale(s.needed - b.available_usd)::text end as "missingUsd",
      b.resets_at as "resetsAt",
      (select count(*)::int from later) as later, (select min(scheduled_for) from later) as "nextAt"
    from public.llm_budget_status b cross join sums s where b.tenant_id = ${tenantId}`;
  if (held === undefined) return [];
  const { parked, neededUsd, availableUsd, missingUsd, resetsAt, later, nextAt } = held;
  const reset = resetsAt?.toISOString() ?? '';
  const causes: Cause[] = [];
  if (parked > 0) {
    const target = option('tenant', tenantId);
    // Of more jobs than were counted nobody knows what they need.
    const missing = parked >= mostCounted ? null : missingUsd;
    causes.push({
      code: 'budget',
      says: `${jobsText(parked)} ${isOrAre(parked)} parked and need $${neededUsd ?? '0'}; $${availableUsd ?? '0'} is available in the month of tenant ${tenantId}, which resets at ${reset}`,
      lift: purserCommand(
        'budget',
        'top-up',
        target,
        '--usd',
        missing ?? 'USD',
        '--reason',
        'REASON',
      ),
      facts: { parked, neededUsd, availableUsd, missingUsd: missing, resetsAt: reset },
    });
  }
  if (later > 0 && nextAt !== null) {
    causes.push({
      code: 'later',
      says: `${jobsText(later)} wait${later === 1 ? 's' : ''} for ${later === 1 ? 'its' : 'their'} time, the next one until ${nextAt.toISOString()}`,
      lift: null,
      facts: { later, nextAt: nextAt.toISOString() },
    });
  }
  return causes;
}
