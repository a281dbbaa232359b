/**
 * The evidence of an analysis: a tenant's spending, its changes, anomalies and idle resources, in one small JSON
 * object. The period ends at the tenant's newest charge, because exports lag behind the clock.
 */
import type { TenantSql } from '../../db/tenant.ts';
import {
  idleResources,
  newestChargeDay,
  totalsByCurrency,
  totalsByService,
  usageByServiceAndDay,
} from './queries.ts';
import type { IdleResource, Periods, ServiceDay, ServiceTotal } from './queries.ts';
import { clipped, rounded } from './evidence-values.ts';
import { findAnomalies, groupByService } from './anomalies.ts';
import type { CostAnomaly } from './anomalies.ts';
import { addDays, daysOf } from './utc-days.ts';
import type { DayRange } from './utc-days.ts';

/**
 * Totals are exact decimal strings; values that statistics use are floats of 6 digits. The offline analyst reads
 * `services` and `idle`; an LLM reads all of it.
 */
export interface Evidence {
  readonly currency: string;
  readonly periodDays: number;
  /** First and last day of the period, both included. */
  readonly periodStart: string;
  readonly periodEnd: string;
  readonly totalCost: string;
  readonly previousTotalCost: string;
  readonly changePercent: number | null;
  readonly otherCurrencies: readonly { readonly currency: string; readonly cost: string }[];
  /** The services with the highest cost, each with its daily cost from a week before the period. */
  readonly services: readonly ServiceEvidence[];
  readonly movers: readonly ServiceChange[];
  readonly anomalies: readonly CostAnomaly[];
  readonly idle: readonly IdleEvidence[];
}

interface DayCost {
  readonly day: string;
  readonly cost: number;
}

interface ServiceEvidence {
  readonly service: string;
  readonly total: string;
  readonly previousTotal: string;
  readonly daily: readonly DayCost[];
}

interface ServiceChange {
  readonly service: string;
  readonly total: string;
  readonly previousTotal: string;
  readonly change: number;
  /** null if the previous total is zero. */
  readonly changePercent: number | null;
}

interface IdleEvidence {
  readonly resourceId: string;
  readonly service: string;
  /** Over the whole period. */
  readonly cost: string;
  readonly evidence: string;
}

const maxServices = 10;
/** Statistics need a week of history before the first day of the period. */
const historyDays = 7;
const maxDailyDays = 45;
const maxMovers = 8;
const maxIdle = 12;
function percent(current: number, previous: number): number | null {
  return previous === 0 ? null : rounded(((current - previous) / Math.abs(previous)) * 100);
}

function toChange({ service, current, previous }: ServiceTotal): ServiceChange {
  const [now, before] = [Number(current), Number(previous)];
  return {
    service: clipped(service),
    total: current,
    previousTotal: previous,
    change: rounded(now - before),
    changePercent: percent(now, before),
  };
}

/** Services whose cost changed by at least 10 % and by 1 % of the total, the largest change first. */
function findMovers(changes: readonly ServiceChange[]): ServiceChange[] {
  const total = changes.reduce((sum, change) => sum + Math.abs(Number(change.total)), 0);
  return changes
    .filter(({ change, changePercent }) => {
      return Math.abs(change) >= total / 100 && Math.abs(changePercent ?? 100) >= 10;
    })
    .toSorted((a, b) => Math.abs(b.change) - Math.abs(a.change))
    .slice(0, maxMovers);
}

function toIdle(resource: IdleResource): IdleEvidence {
  const { name, type, region, days, reason } = resource;
  const what = [type, name].filter((part) => part !== null).map(clipped);
  const where = region === null ? '' : ` in ${clipped(region)}`;
  return {
    resourceId: clipped(resource.resourceId),
    service: clipped(resource.service),
    cost: resource.cost,
    evidence: `${what.join(' ') || 'a resource'}${where}, charged on ${days} days: ${reason}`,
  };
}

function servicesOf(
  totals: readonly ServiceTotal[],
  usage: readonly ServiceDay[],
  days: readonly string[],
): ServiceEvidence[] {
  const byService = groupByService(usage);
  return totals.slice(0, maxServices).map(({ service, current, previous }) => {
    const costs = byService.get(service);
    return {
      service: clipped(service),
      total: current,
      previousTotal: previous,
      daily:
        costs === undefined ? [] : days.map((day) => ({ day, cost: rounded(costs.get(day) ?? 0) })),
    };
  });
}

/** The evidence of the last `periodDays` days, compared with as many before them; null without cost rows. */
export async function gatherEvidence(sql: TenantSql, periodDays: number): Promise<Evidence | null> {
  return sql.begin(async (tx) => {
    const newest = await newestChargeDay(tx);
    if (newest === null) return null;
    const to = addDays(newest, 1);
    const from = addDays(to, -periodDays);
    const current: DayRange = { from, to };
    const previous: DayRange = { from: addDays(from, -periodDays), to: from };
    const [main, ...others] = await totalsByCurrency(tx, current);
    if (main === undefined) return null;
    const { currency } = main;
    const periods: Periods = { current, previous, currency };
    const before = (await totalsByCurrency(tx, previous)).find(
      (total) => total.currency === currency,
    );
    const totals = await totalsByService(tx, periods);
    const usage = await usageByServiceAndDay(tx, periods);
    const idle = await idleResources(tx, periods);
    const days = daysOf({ from: addDays(from, -historyDays), to }).slice(-maxDailyDays);
    const previousTotalCost = before?.cost ?? '0';
    return {
      currency,
      periodDays,
      periodStart: from,
      periodEnd: newest,
      totalCost: main.cost,
      previousTotalCost,
      changePercent: percent(Number(main.cost), Number(previousTotalCost)),
      otherCurrencies: others.map((other) => ({ currency: other.currency, cost: other.cost })),
      services: servicesOf(totals, usage, days),
      movers: findMovers(totals.map(toChange)),
      anomalies: findAnomalies(usage, periods),
      idle: idle.slice(0, maxIdle).map(toIdle),
    };
  });
}
