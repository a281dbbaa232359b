/**
 * Plain text tables. A table that has to fit a terminal is narrowed at its columns of sentences, then loses its empty
 * columns and the seconds and years of its times; names and numbers stay whole. Where this is not enough, each row is
 * printed as a block of lines.
 */
import { terminalWidth } from './output.ts';
import { fitText, padText, textWidth } from './text-width.ts';

export type Cell = string | number | boolean | Date | null | undefined;

/** Always in UTC: `2026-11-30T17:28:45Z`, `2026-11-30T17:28Z`, `11-30T17:28Z`. */
type TimeForm = 'seconds' | 'minutes' | 'short';

function timeText(time: Date, form: TimeForm): string {
  const text = time.toISOString();
  if (form === 'seconds') return text.replace(/\.\d+Z$/, 'Z');
  const minutes = text.replace(/:\d\d\.\d+Z$/, 'Z');
  return form === 'minutes' ? minutes : minutes.replace(/^\d{4}-/, '');
}

function textOf(cell: Cell, time: TimeForm): string {
  if (cell === null || cell === undefined) return '-';
  return cell instanceof Date ? timeText(cell, time) : String(cell);
}

/** Replaces control characters, which could move the cursor. */
// oxlint-disable-next-line no-control-regex
const visible = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '\u00b7');

/** Between columns; where nothing else fits, one blank. */
const gap = '  ';
/** A column of sentences is not narrowed below this. */
const minSentenceWidth = 16;

/** The column's least width: only texts with a space are cut, because half a name or number is of no use. */
function leastWidth(cells: readonly string[], width: number): number {
  return cells.some((text) => text.includes(' ')) ? Math.min(width, minSentenceWidth) : width;
}

/** Widths whose line fits, or undefined. The widest column that may shrink loses first. */
function fittingWidths(
  widths: readonly number[],
  least: readonly number[],
  line: number,
  between: number,
): readonly number[] | undefined {
  const fitted = [...widths];
  let over = fitted.reduce((sum, width) => sum + width, between * (fitted.length - 1)) - line;
  while (over > 0) {
    const widest = Math.max(
      ...fitted.map((width, column) => (width > (least[column] ?? 0) ? width : 0)),
    );
    if (widest <= 0) return undefined;
    const column = fitted.findIndex(
      (width, index) => width === widest && width > (least[index] ?? 0),
    );
    fitted[column] = widest - 1;
    over -= 1;
  }
  return fitted;
}

function asBlocks(head: readonly string[], rows: readonly (readonly string[])[], line: number) {
  const names = Math.max(...head.map(textWidth));
  const room = Math.max(minSentenceWidth, line - names - gap.length);
  return rows
    .map((row) =>
      row
        .map((text, column) => `${padText(head[column] ?? '', names)}${gap}${fitText(text, room)}`)
        .join('\n'),
    )
    .join('\n\n');
}

interface Layout {
  readonly between: string;
  readonly head: readonly string[];
  readonly cells: readonly (readonly string[])[];
}

/** What is printed where all of it fits, and then, shorter and shorter: without empty columns, with shorter times. */
function layoutsOf(head: readonly string[], rows: readonly (readonly Cell[])[]): Layout[] {
  const as = (time: TimeForm): Layout => ({
    between: gap,
    head,
    cells: rows.map((row) => row.map((cell) => visible(textOf(cell, time)))),
  });
  const [whole, short] = [as('seconds'), as('short')];
  const shorter = [whole, as('minutes'), short, { ...short, between: ' ' }];
  return [whole, ...shorter.map(withoutEmptyColumns)];
}

function withoutEmptyColumns({ between, head, cells }: Layout): Layout {
  const isKept = (_: unknown, column: number): boolean =>
    cells.some((row) => row[column] !== '-' && row[column] !== '');
  return { between, head: head.filter(isKept), cells: cells.map((row) => row.filter(isKept)) };
}

/** Widths of the columns of a layout, or undefined where it does not fit. */
function widthsOf({ between, head, cells }: Layout, maxWidth: number, line: number | undefined) {
  const columns = head.map((_, column) => cells.map((row) => row[column] ?? ''));
  const heads = head.map(textWidth);
  const natural = columns.map((texts, column) =>
    Math.max(heads[column] ?? 0, ...texts.map((text) => Math.min(maxWidth, textWidth(text)))),
  );
  if (line === undefined) return natural;
  const least = columns.map((texts, column) =>
    Math.max(heads[column] ?? 0, leastWidth(texts, natural[column] ?? 0)),
  );
  return fittingWidths(natural, least, line, between.length);
}

/**
 * Pads each column to its widest cell; cuts cells wider than `maxWidth` with an ellipsis. `lineWidth` is that of the
 * terminal; undefined where stdout is none: lines are then as long as their cells.
 */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
  maxWidth = 60,
  lineWidth = terminalWidth(),
): string {
  const layouts = layoutsOf(head, rows);
  for (const layout of layouts) {
    const widths = widthsOf(layout, maxWidth, lineWidth);
    if (widths !== undefined) return asTable(layout, widths);
  }
  return asBlocks(head, layouts[0]?.cells ?? [], lineWidth ?? 0);
}

function asTable({ between, head, cells }: Layout, widths: readonly number[]): string {
  const line = (row: readonly string[]): string =>
    row
      .map((text, column) => padText(fitText(text, widths[column] ?? 0), widths[column] ?? 0))
      .join(between)
      .trimEnd();
  const rule = widths.map((width) => '-'.repeat(width));
  return [line(head), line(rule), ...cells.map(line)].join('\n');
}
