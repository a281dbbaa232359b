/**
 * Robust statistics of a cost series, which outliers hardly change. The modified z-score after B. Iglewicz and
 * D. Hoaglin, "How to Detect and Handle Outliers", ASQC 1993: 0.6745 (x - median) / MAD, an outlier above
 * 3.5; where the MAD is 0, (x - median) / (1.253314 mean absolute deviation).
 */

/** A value with a higher modified z-score is an outlier. */
export const outlierScore = 3.5;

/** The median; 0 for an empty list. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

interface Spread {
  readonly center: number;
  /** Unit of the modified z-score; 0 when all values are equal. */
  readonly scale: number;
}

/** `(x - center) / scale` is the modified z-score of x. */
export function spreadOf(values: readonly number[]): Spread {
  const center = median(values);
  const distances = values.map((value) => Math.abs(value - center));
  const mad = median(distances);
  if (mad > 0) return { center, scale: mad / 0.6745 };
  const total = distances.reduce((sum, distance) => sum + distance, 0);
  return { center, scale: (1.253314 * total) / Math.max(distances.length, 1) };
}
