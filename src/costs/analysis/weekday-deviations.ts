/**
 * Outliers of a daily cost series by robust statistics: medians instead of means, with weekdays and weekends compared
 * separately.
 */
import { median, spreadOf } from './robust-statistics.ts';

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
 * Modified z-scores of each day's difference from the median of its class of days; 0 for a series without spread.
 */
export function deviations(series: readonly DayValue[]): Deviation[] {
  const expectedOf = (weekend: boolean): number =>
    median(series.filter(({ day }) => isWeekend(day) === weekend).map(({ value }) => value));
  const weekdayLevel = expectedOf(false);
  const weekendLevel = expectedOf(true);
  const residuals = series.map(
    ({ day, value }) => value - (isWeekend(day) ? weekendLevel : weekdayLevel),
  );
  const { center, scale } = spreadOf(residuals);
  return series.map(({ day, value }, index) => ({
    day,
    value,
    expected: isWeekend(day) ? weekendLevel : weekdayLevel,
    score: scale === 0 ? 0 : ((residuals[index] ?? 0) - center) / scale,
  }));
}
