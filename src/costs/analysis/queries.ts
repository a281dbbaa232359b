/**
 * The sums that an analysis uses, computed by Postgres over one tenant's cost rows. Totals are exact decimal strings;
 * only statistics are floats. Every result has a bounded number of rows.
 */
import type { Tx } from '../../db/connect.ts';
import type { DayRange } from './utc-days.ts';

/** The last day on which the tenant has a usage charge (any charge, if it has no usage); null without rows. */
export async function newestChargeDay(tx: Tx): Promise<string | null> {
  const [row] = await tx<{ day: string | null }[]>`
    select (coalesce(
      (select charge_period_start from public.cost_records where charge_category = 'Usage'
       order by charge_period_start desc limit 1),
      (select charge_period_start from public.cost_records order by charge_period_start desc limit 1)
    ) at time zone 'UTC')::date::text as day`;
  return row?.day ?? null;
}

export interface CurrencyTotal {
  readonly currency: string;
  readonly rows: number;
  readonly cost: string;
}

/** Billed cost of the range per currency, the currency with most rows first. */
export async function totalsByCurrency(tx: Tx, range: DayRange): Promise<CurrencyTotal[]> {
  return tx<CurrencyTotal[]>`
    select billing_currency as currency, count(*)::int as rows,
           trim_scale(sum(billed_cost))::text as cost
    from public.cost_records
    where charge_period_start >= ${range.from}::date::timestamp at time zone 'UTC'
      and charge_period_start < ${range.to}::date::timestamp at time zone 'UTC'
    group by billing_currency order by count(*) desc, billing_currency limit 10`;
}

export interface ServiceTotal {
  readonly service: string;
  readonly current: string;
  readonly previous: string;
}

export interface Periods {
  readonly current: DayRange;
  readonly previous: DayRange;
  readonly currency: string;
}

/** Billed cost per service in both periods: the 200 services with the highest cost. */
export async function totalsByService(tx: Tx, periods: Periods): Promise<ServiceTotal[]> {
  const { current, previous, currency } = periods;
  return tx<ServiceTotal[]>`
    with sums as (
      select service_name as service,
             coalesce(sum(billed_cost) filter (where charge_period_start >= ${current.from}::date::timestamp at time zone 'UTC'), 0) as current,
             coalesce(sum(billed_cost) filter (where charge_period_start < ${current.from}::date::timestamp at time zone 'UTC'), 0) as previous
      from public.cost_records
      where billing_currency = ${currency}
        and charge_period_start >= ${previous.from}::date::timestamp at time zone 'UTC'
        and charge_period_start < ${current.to}::date::timestamp at time zone 'UTC'
      group by service_name
    )
    select service, trim_scale(current)::text as current, trim_scale(previous)::text as previous
    from sums order by greatest(abs(current), abs(previous)) desc, service limit 200`;
}

export interface ServiceDay {
  readonly service: string;
  readonly day: string;
  readonly cost: number;
}

/** Usage cost per service and day over both periods, for the 60 services with the highest usage cost. */
export async function usageByServiceAndDay(tx: Tx, periods: Periods): Promise<ServiceDay[]> {
  return tx<ServiceDay[]>`
    with usage as (
      select service_name as service, (charge_period_start at time zone 'UTC')::date as day,
             sum(billed_cost) as cost
      from public.cost_records
      where billing_currency = ${periods.currency} and charge_category = 'Usage'
        and charge_period_start >= ${periods.previous.from}::date::timestamp at time zone 'UTC'
        and charge_period_start < ${periods.current.to}::date::timestamp at time zone 'UTC'
      group by 1, 2
    ), top as (
      select service from usage group by service order by sum(abs(cost)) desc, service limit 60
    )
    select service, day::text as day, cost::float8 as cost
    from usage join top using (service) order by service, day`;
}

export interface IdleResource {
  readonly resourceId: string;
  readonly name: string | null;
  readonly type: string | null;
  readonly service: string;
  readonly region: string | null;
  readonly cost: string;
  readonly days: number;
  readonly reason: string;
}

/**
 * Resources that cost money in the current period although every row says that nothing was consumed, or describes
 * them as idle, unattached or unused. The 20 with the highest cost.
 */
export async function idleResources(tx: Tx, periods: Periods): Promise<IdleResource[]> {
  return tx<IdleResource[]>`
    select resource_id as "resourceId", max(resource_name) as name, max(resource_type) as type,
           max(service_name) as service, max(region_id) as region,
           trim_scale(sum(billed_cost))::text as cost,
           count(distinct (charge_period_start at time zone 'UTC')::date)::int as days,
           case when bool_and(consumed_quantity is not distinct from 0) then 'every row says that nothing was consumed'
                else 'the provider describes every charge as idle or unattached' end as reason
    from public.cost_records
    where billing_currency = ${periods.currency} and charge_category = 'Usage' and resource_id is not null
      and charge_period_start >= ${periods.current.from}::date::timestamp at time zone 'UTC'
      and charge_period_start < ${periods.current.to}::date::timestamp at time zone 'UTC'
    group by resource_id
    having sum(billed_cost) > 0
      and (bool_and(consumed_quantity is not distinct from 0)
           or bool_and(charge_description ~* '\\m(idle|unattached|unused|not in use)\\M'))
    order by sum(billed_cost) desc, resource_id limit 20`;
}
