/** The outbox of alerts: rows that a movement of money wrote, each to be delivered at least once. */
import type { Sql } from '../db/connect.ts';
import { lockTimeout } from '../db/row-faults.ts';
import { mapStoreErrors } from '../db/store-errors.ts';

/** What passed a share of its limit, or a call that cost more than its hold. */
export interface Alert {
  /** The same in every delivery. */
  readonly id: string;
  readonly at: Date;
  readonly kind: 'threshold' | 'overage';
  /** Null for a limit of the whole fleet. */
  readonly tenantId: string | null;
  /** Null for the tenant's month; else the kind and the value of its scope: of the fleet `fleet`, and what it limits. */
  readonly scope: string | null;
  readonly scopeValue: string | null;
  /** The instant that the period begins. */
  readonly periodStart: Date;
  /** 50, 80 or 100; null for an overage. */
  readonly percent: number | null;
  /** Exact decimal USD: the limit with its top-ups; of an overage the hold. */
  readonly limitUsd: string;
  /** Spent plus unknown; of an overage the cost. */
  readonly usedUsd: string;
  readonly reservationId: string | null;
}

interface AlertRow {
  id: string;
  at: Date;
  kind: 'threshold' | 'overage';
  tenant_id: string | null;
  scope: string | null;
  scope_value: string | null;
  period_start: Date;
  percent: number | null;
  limit_usd: string;
  used_usd: string;
  reservation_id: string | null;
}

const columns = (sql: Sql) => sql`
  a.id, a.at, a.kind, a.tenant_id, case when a.fleet_period_id is null then s.kind else 'fleet' end as scope,
  coalesce(p.value, purser.fleet_scope_title(fs.kind, fs.provider, fs.subject)) as scope_value,
  coalesce(p.starts_at, fp.starts_at, a.period_start::timestamp at time zone 'UTC', a.at) as period_start, a.percent,
  trim_scale(a.limit_usd) as limit_usd, trim_scale(a.used_usd) as used_usd, a.reservation_id`;

const joins = (sql: Sql) => sql`
  left join llm_scope_periods p on p.id = a.scope_period_id
  left join llm_scopes s on s.id = p.scope_id
  left join llm_fleet_periods fp on fp.id = a.fleet_period_id
  left join llm_fleet_scopes fs on fs.id = fp.fleet_scope_id`;

const alertOf = (row: AlertRow): Alert => ({
  id: row.id,
  at: row.at,
  kind: row.kind,
  tenantId: row.tenant_id,
  scope: row.scope,
  scopeValue: row.scope_value,
  periodStart: row.period_start,
  percent: row.percent,
  limitUsd: row.limit_usd,
  usedUsd: row.used_usd,
  reservationId: row.reservation_id,
});

/**
 * Takes up to `limit` alerts that are due, oldest first. Each is due again after `leaseMs`, so that one whose process
 * dies is delivered by another; the pause grows with each try up to an hour.
 */
export async function takeAlerts(
  sql: Sql,
  { limit, leaseMs }: { readonly limit: number; readonly leaseMs: number },
): Promise<Alert[]> {
  const rows = await mapStoreErrors(
    'take alerts',
    () => sql<AlertRow[]>`
      with ${lockTimeout(sql)}, due as (
        select l.id from llm_alerts l
        where exists (select from lock_timeout) and l.delivered_at is null and l.next_try_at <= now()
        order by l.next_try_at limit ${limit} for update skip locked
      ), a as (
        update llm_alerts l
        set tries = l.tries + 1,
          next_try_at = now() + least(${leaseMs} * power(2, least(l.tries, 20)), 3600000) * interval '1 millisecond'
        from due d where l.id = d.id
        returning l.*
      )
      select ${columns(sql)} from a ${joins(sql)} order by a.at`,
  );
  return rows.map(alertOf);
}

/** Records the end of a try. */
export async function endAlertTry(
  sql: Sql,
  { id, failure }: { readonly id: string; readonly failure: string | undefined },
): Promise<void> {
  await mapStoreErrors(
    'record the delivery of an alert',
    () => sql`
      update llm_alerts set last_failure = ${failure ?? null}::text,
        delivered_at = case when ${failure ?? null}::text is null then now() end
      where id = ${id} and delivered_at is null`,
  );
}

export interface ListedAlert extends Alert {
  readonly deliveredAt: Date | null;
  readonly tries: number;
  readonly lastFailure: string | null;
}

export interface AlertFilter {
  readonly tenantId?: string | undefined;
  readonly since?: Date | undefined;
}

const wanted = (sql: Sql, { tenantId, since }: AlertFilter) => sql`
  (${tenantId ?? null}::text is null or a.tenant_id = ${tenantId ?? null}::text)
  and (${since ?? null}::timestamptz is null or a.at >= ${since ?? null}::timestamptz)`;

export async function countAlerts(sql: Sql, filter: AlertFilter): Promise<number> {
  const [row] = await mapStoreErrors(
    'count alerts',
    () => sql<{ alerts: number }[]>`
      select count(*)::int as alerts from llm_alerts a where ${wanted(sql, filter)}`,
  );
  return row?.alerts ?? 0;
}

/** The newest alerts of one tenant or of all. */
export async function listAlerts(
  sql: Sql,
  { limit = 100, ...filter }: AlertFilter & { readonly limit?: number },
): Promise<ListedAlert[]> {
  const rows = await mapStoreErrors(
    'read alerts',
    () => sql<
      (AlertRow & { delivered_at: Date | null; tries: number; last_failure: string | null })[]
    >`
      select ${columns(sql)}, a.delivered_at, a.tries, a.last_failure
      from llm_alerts a ${joins(sql)}
      where ${wanted(sql, filter)}
      order by a.at desc limit ${limit}`,
  );
  return rows.map((row) => ({
    ...alertOf(row),
    deliveredAt: row.delivered_at,
    tries: row.tries,
    lastFailure: row.last_failure,
  }));
}
