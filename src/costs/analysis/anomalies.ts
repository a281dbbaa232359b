/**
 * Finds the days on which the cost of a service is an outlier of its own history, as evidence for the analysis. The offline
 * analyst has its own search (analyst/statistics.ts).
 */
import type { Periods, ServiceDay } from './queries.ts';
import { clipped, rounded } from './evidence-values.ts';
import { median, outlierScore } from './robust-statistics.ts';
import { addDays, daysOf } from './utc-days.ts';
import { deviations } from './weekday-deviations.ts';
import type { DayValue } from './weekday-deviations.ts';

/** Consecutive days on which the cost of a service is an outlier of its own history. */
export interface CostAnomaly {
  readonly service: string;
  readonly from: string;
  readonly to: string;
  readonly cost: number;
  readonly expected: number;
  readonly excess: number;
  readonly score: number;
}

const maxAnomalies = 10;

/** Joins consecutive outlier days of one service into one anomaly. */
function anomaliesOf(
  service: string,
  series: readonly DayValue[],
  from: string,
  minExcess: number,
): CostAnomaly[] {
  const found: CostAnomaly[] = [];
  for (const { day, value, expected, score } of deviations(series)) {
    const excess = value - expected;
    const isAnomaly = score > outlierScore && excess >= Math.max(minExcess, expected * 0.2);
    if (!isAnomaly || day < from) continue;
    const last = found.at(-1);
    if (last !== undefined && addDays(last.to, 1) === day) {
      found[found.length - 1] = {
        ...last,
        to: day,
        cost: rounded(last.cost + value),
        expected: rounded(last.expected + expected),
        excess: rounded(last.excess + excess),
        score: rounded(Math.max(last.score, score)),
      };
    } else {
      found.push({
        service: clipped(service),
        from: day,
        to: day,
        cost: rounded(value),
        expected: rounded(expected),
        excess: rounded(excess),
        score: rounded(score),
      });
    }
  }
  return found;
}

export function groupByService(usage: readonly ServiceDay[]): Map<string, Map<string, number>> {
  const byService = new Map<string, Map<string, number>>();
  for (const { service, day, cost } of usage) {
    const costs = byService.get(service) ?? new Map<string, number>();
    byService.set(service, costs.set(day, cost));
  }
  return byService;
}

/**
 * Outliers among the days of the current period, compared with both periods. Services that are charged on fewer than
 * half of the days (monthly fees) have no daily level to compare with and are skipped.
 */
export function findAnomalies(usage: readonly ServiceDay[], periods: Periods): CostAnomaly[] {
  const first = usage.reduce((least, { day }) => (day < least ? day : least), periods.current.to);
  const window = daysOf({ from: first, to: periods.current.to });
  const totalByDay = new Map<string, number>();
  const byService = groupByService(usage);
  for (const { day, cost } of usage) totalByDay.set(day, (totalByDay.get(day) ?? 0) + cost);
  const leastExcess = Math.abs(median([...totalByDay.values()])) / 100;
  return [...byService]
    .filter(([, costs]) => costs.size >= Math.max(10, window.length / 2))
    .flatMap(([service, costs]) => {
      const series = window.map((day) => ({ day, value: costs.get(day) ?? 0 }));
      return anomaliesOf(service, series, periods.current.from, leastExcess);
    })
    .toSorted((a, b) => b.excess - a.excess)
    .slice(0, maxAnomalies);
}
