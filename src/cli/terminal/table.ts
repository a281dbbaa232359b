/** Plain text tables. */

export type Cell = string | number | boolean | Date | null | undefined;

function textOf(cell: Cell): string {
  if (cell === null || cell === undefined) return '-';
  if (cell instanceof Date) return cell.toISOString().replace(/\.\d+Z$/, 'Z');
  return String(cell);
}

/** Replaces control characters, which could move the cursor. */
// oxlint-disable-next-line no-control-regex
const visible = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '\u00b7');

/** Pads each column to its widest cell; cuts cells longer than `maxWidth` with an ellipsis. */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
  maxWidth = 60,
): string {
  const cells = rows.map((row) =>
    row.map((cell) => {
      const text = visible(textOf(cell));
      return text.length > maxWidth ? `${text.slice(0, maxWidth - 1)}\u2026` : text;
    }),
  );
  const widths = head.map((title, column) =>
    Math.max(title.length, ...cells.map((row) => row[column]?.length ?? 0)),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((text, column) => text.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return [
    line(head),
    line(widths.map((width) => '-'.repeat(width))),
    ...cells.map((row) => line(row)),
  ].join('\n');
}
