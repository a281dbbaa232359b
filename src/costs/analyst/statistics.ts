/**
 * The search of the offline analyst for unusual days in a series of daily costs, and the cost of a period per month.
 * All series use the same parameters.
 */
import { median, outlierScore, spreadOf } from '../analysis/robust-statistics.ts';
import type { DailyCost, ServiceEvidence } from './evidence.ts';

const windowDays = 28;
const minHistoryDays = 7;
/** Less than this above the expected cost is noise to a reader, however regular the series is. */
const minExcessShare = 0.25;
const dayMs = 86_400_000;

export interface CostAnomaly {
  readonly service: string;
  readonly day: string;
  readonly cost: number;
  readonly expected: number;
  readonly score: number;
  /** Length of the run of days; `day` is the one with the highest cost. */
  readonly days: number;
}

/** The modified z-score of `value` against `history`; infinite above a history without any spread. */
export function modifiedZScore(value: number, history: readonly number[]): number {
  const { center, scale } = spreadOf(history);
  if (scale > 0) return (value - center) / scale;
  return value === center ? 0 : Math.sign(value - center) * Number.POSITIVE_INFINITY;
}

/**
 * Days that cost far more than the 28 days before them, and more than the same weekday did lately (a
 * weekly batch is no anomaly). A run of such days is one finding, named by its day of highest cost.
 */
export function findUnusualDays(service: ServiceEvidence, materialCost: number): CostAnomaly[] {
  const found: CostAnomaly[] = [];
  let run: { at: number; anomaly: CostAnomaly } | undefined;
  for (const [at, { day, cost }] of service.daily.entries()) {
    const history = service.daily.slice(Math.max(0, at - windowDays), at);
    if (history.length < minHistoryDays) continue;
    const expected = median(history.map((point) => point.cost));
    const excess = cost - expected;
    const score = modifiedZScore(
      cost,
      history.map((point) => point.cost),
    );
    const material = excess > Math.max(materialCost, minExcessShare * Math.abs(expected));
    if (score <= outlierScore || !material || isUsualForWeekday(day, cost, history)) continue;
    const inARow = run?.at === at - 1 ? run.anomaly : undefined;
    const highest = inARow !== undefined && inARow.cost >= cost ? inARow : undefined;
    const days = (inARow?.days ?? 0) + 1;
    const anomaly =
      highest === undefined
        ? { service: service.service, day, cost, expected, score, days }
        : { ...highest, days };
    if (inARow !== undefined) found.pop();
    found.push(anomaly);
    run = { at, anomaly };
  }
  return found;
}

/** Within a quarter of what at least two same weekdays of the window cost. */
function isUsualForWeekday(day: string, cost: number, history: readonly DailyCost[]): boolean {
  const date = Date.parse(day);
  const same = history.filter(
    (point) => Math.round((date - Date.parse(point.day)) / dayMs) % 7 === 0,
  );
  return same.length >= 2 && cost <= median(same.map((point) => point.cost)) * (1 + minExcessShare);
}

/** A cost of `periodDays` days as 30 days. */
export function perMonth(cost: number, periodDays: number): number {
  return (cost * 30) / periodDays;
}
