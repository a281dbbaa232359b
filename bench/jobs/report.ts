/** Sections of figures: aggregated over samples, and printed. */

export type Row = Readonly<Record<string, string | number | null>>;

export interface Section {
  readonly name: string;
  /** What was measured, in one sentence. */
  readonly title: string;
  readonly rows: readonly Row[];
  /** Conditions of the measurement. */
  readonly notes: readonly string[];
}

/** The share `at` (0 to 1) of sorted samples, by nearest rank. */
export function quantile(samples: readonly number[], at: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * at) - 1)] ?? Number.NaN;
}

export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

/** Median, minimum and maximum as separate figures. */
export function spread(
  name: string,
  samples: readonly number[],
  digits = 0,
): Record<string, number> {
  return {
    [name]: rounded(median(samples), digits),
    min: rounded(Math.min(...samples), digits),
    max: rounded(Math.max(...samples), digits),
  };
}

export function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

export function printSection({ name, title, rows, notes }: Section): void {
  console.log(`\n${name}: ${title}`);
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cells = [columns, ...rows.map((row) => columns.map((column) => String(row[column] ?? '')))];
  const widths = columns.map((_, index) =>
    Math.max(...cells.map((line) => (line[index] ?? '').length)),
  );
  for (const [number, line] of cells.entries()) {
    const padded = line.map((cell, index) => {
      const width = widths[index] ?? 0;
      const isText = rows.some((row) => typeof row[columns[index] ?? ''] === 'string');
      return isText ? cell.padEnd(width) : cell.padStart(width);
    });
    console.log(`  ${padded.join('  ')}`);
    if (number === 0) console.log(`  ${widths.map((width) => '-'.repeat(width)).join('  ')}`);
  }
  for (const note of notes) console.log(`  ${note}`);
}
