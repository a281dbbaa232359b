/** Figures that the fault suites print; no assertion uses them. */

/** Prints a figure to the output of the run. */
export function say(text: string): void {
  process.stderr.write(`  ${text}\n`);
}

/** `n 30, median 4.1, 95 % 5.0, most 5.3 s` of some milliseconds. */
export function spread(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  if (sorted.length === 0) return 'none';
  const at = (share: number): string =>
    ((sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0) / 1000).toFixed(
      2,
    );
  return `n ${sorted.length}, median ${at(0.5)}, 95 % ${at(0.95)}, most ${at(1)} s`;
}
