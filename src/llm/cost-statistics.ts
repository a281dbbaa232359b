/**
 * Robust statistics over daily costs: which days stand out, and what a period costs per month.
 *
 * A day is an outlier by its modified z-score, `0.6745 * (x - median) / MAD` above 3.5, with the mean
 * absolute deviation where the MAD is zero: B. Iglewicz and D. Hoaglin, "How to Detect and Handle
 * Outliers", ASQC 1993. One parameter set for every series.
 */
import type { DailyCost, ServiceEvidence } from './evidence.ts';

const threshold = 3.5;
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
  /** Days in a row, this one being the dearest. */
  readonly days: number;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

/** The modified z-score of `value` against `history`; infinite above a history without any spread. */
export function modifiedZScore(value: number, history: readonly number[]): number {
  const center = median(history);
  const deviations = history.map((x) => Math.abs(x - center));
  const mad = median(deviations);
  if (mad > 0) return (0.6745 * (value - center)) / mad;
  const meanAd = deviations.reduce((total, x) => total + x, 0) / Math.max(deviations.length, 1);
  if (meanAd > 0) return (value - center) / (1.253314 * meanAd);
  return value === center ? 0 : Math.sign(value - center) * Number.POSITIVE_INFINITY;
}

/**
 * Days that cost far more than the 28 days before them, and more than the same weekday did lately (a
 * weekly batch is no anomaly). A run of such days is one finding, named by its dearest day.
 */
export function findAnomalies(service: ServiceEvidence, materialCost: number): CostAnomaly[] {
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
    if (score <= threshold || !material || isUsualForWeekday(day, cost, history)) continue;
    const inARow = run?.at === at - 1 ? run.anomaly : undefined;
    const dearest = inARow !== undefined && inARow.cost >= cost ? inARow : undefined;
    const days = (inARow?.days ?? 0) + 1;
    const anomaly =
      dearest === undefined
        ? { service: service.service, day, cost, expected, score, days }
        : { ...dearest, days };
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
