/**
 * Outliers of a daily cost series by statistics that the outliers themselves cannot bend: medians in
 * place of means, and weekdays compared with weekdays.
 */

/** The median; 0 of nothing. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

export interface DayValue {
  /** `YYYY-MM-DD`, UTC. */
  readonly day: string;
  readonly value: number;
}

export interface Deviation extends DayValue {
  /** Median of the days of the same class (Monday to Friday, or weekend). */
  readonly expected: number;
  /** Modified z-score of value - expected. */
  readonly score: number;
}

function isWeekend(day: string): boolean {
  const weekday = new Date(`${day}T00:00:00Z`).getUTCDay();
  return weekday === 0 || weekday === 6;
}

/**
 * Modified z-scores after Iglewicz and Hoaglin, How to Detect and Handle Outliers (ASQC, 1993):
 * M = 0.6745 (x - median) / MAD, an outlier where |M| > 3.5. Here x is a day's difference from the
 * median of its class of days. Where MAD is 0 (more than half of the days agree) the mean absolute deviation
 * stands in: M = (x - median) / (1.253314 MeanAD). A series without any spread scores 0.
 */
export function deviations(series: readonly DayValue[]): Deviation[] {
  const expectedOf = (weekend: boolean): number =>
    median(series.filter(({ day }) => isWeekend(day) === weekend).map(({ value }) => value));
  const weekdayLevel = expectedOf(false);
  const weekendLevel = expectedOf(true);
  const residuals = series.map(
    ({ day, value }) => value - (isWeekend(day) ? weekendLevel : weekdayLevel),
  );
  const center = median(residuals);
  const distances = residuals.map((residual) => Math.abs(residual - center));
  const mad = median(distances);
  const scale = mad > 0 ? mad / 0.6745 : 1.253314 * mean(distances);
  return series.map(({ day, value }, index) => ({
    day,
    value,
    expected: isWeekend(day) ? weekendLevel : weekdayLevel,
    score: scale === 0 ? 0 : ((residuals[index] ?? 0) - center) / scale,
  }));
}
