/** What the fleet has spent of its limits. */
import type { Sql } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import type { FleetScopeKind } from './scopes.ts';

export interface FleetScopeStatus {
  readonly kind: FleetScopeKind;
  readonly provider: string | null;
  /** The name of the key, or the model. */
  readonly subject: string | null;
  readonly period: 'day' | 'month';
  readonly timeZone: string;
  /** Exact decimal USD, as all amounts here. */
  readonly limitUsd: string;
  readonly hardLimit: boolean;
  /** False while the calls from before are being counted: so long the limit does not bind. */
  readonly binds: boolean;
  /** The sum of what the tenants may use: what they have used and their leases. */
  readonly allottedUsd: string;
  readonly tenants: number;
  /** With what tenants used that were deleted since. */
  readonly spentUsd: string;
  readonly unknownUsd: string;
  readonly reservedUsd: string;
  /** Null before the first call of the period. */
  readonly resetsAt: Date | null;
}

interface StatusRow {
  kind: FleetScopeKind;
  provider: string | null;
  subject: string | null;
  period: 'day' | 'month';
  time_zone: string;
  limit_usd: string;
  hard_limit: boolean;
  binds: boolean;
  allotted_usd: string;
  tenants: string;
  spent_usd: string;
  unknown_usd: string;
  reserved_usd: string;
  ends_at: Date | null;
}

export async function fleetScopeStatus(sql: Sql): Promise<FleetScopeStatus[]> {
  const rows = await mapStoreErrors(
    'read the limits of the fleet',
    () => sql<StatusRow[]>`
      select kind, provider, subject, period, time_zone, trim_scale(limit_usd) as limit_usd, hard_limit,
        filled_at is not null as binds, trim_scale(allotted_usd) as allotted_usd, tenants,
        trim_scale(spent_usd + departed_usd) as spent_usd, trim_scale(unknown_usd) as unknown_usd,
        trim_scale(reserved_usd) as reserved_usd, ends_at
      from llm_fleet_status order by kind, provider, subject, period limit 1000`,
  );
  return rows.map((row) => ({
    kind: row.kind,
    provider: row.provider,
    subject: row.subject,
    period: row.period,
    timeZone: row.time_zone,
    limitUsd: row.limit_usd,
    hardLimit: row.hard_limit,
    binds: row.binds,
    allottedUsd: row.allotted_usd,
    tenants: Number(row.tenants),
    spentUsd: row.spent_usd,
    unknownUsd: row.unknown_usd,
    reservedUsd: row.reserved_usd,
    resetsAt: row.ends_at,
  }));
}
