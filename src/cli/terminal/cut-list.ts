/**
 * What every list of the CLI has in common: `--limit` and `--since`, and a line that says how many of all it shows. The
 * line goes to stderr, so that JSON stays JSON and still nobody takes a part for the whole.
 */
import type { Invocation, OptionSpec } from './command.ts';
import { UsageError } from '../../errors.ts';
import { wholeNumber } from './parse.ts';
import { formatTable } from './table.ts';
import type { Cell } from './table.ts';
import { timeOption } from './time-option.ts';

const usualLimit = 50;
const mostRows = 1_000_000;

export const limitOption = {
  value: 'N',
  help: `at most N (default ${usualLimit})`,
} satisfies OptionSpec;

/** For lists whose JSON has always been whole: without `--limit`, `--json` prints every row. */
export const listOptions = {
  limit: { value: 'N', help: `at most N (default ${usualLimit}; with --json all)` },
  json: { help: 'print JSON' },
} satisfies Record<string, OptionSpec>;

export const sinceOption = {
  value: 'TIME',
  help: 'only since this time: 30m, 12h, 7d, a date, or a time with its zone',
} satisfies OptionSpec;

export function limitOf(invocation: Invocation): number {
  return wholeNumber(invocation, 'limit', usualLimit, { min: 1, max: mostRows });
}

/** The limit of a list with `listOptions`; undefined: every row. */
export function listLimit(invocation: Invocation): number | undefined {
  const isWhole = invocation.flag('json') && invocation.value('limit') === undefined;
  return isWhole ? undefined : limitOf(invocation);
}

const unitMs: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** The time of `--since`, or of another option of that form; undefined without it. Throws a usage error that names the forms. */
export function sinceOf(
  invocation: Invocation,
  now = new Date(),
  option = 'since',
): Date | undefined {
  const text = invocation.value(option);
  if (text === undefined) return undefined;
  const [, digits, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (digits !== undefined) return new Date(now.getTime() - Number(digits) * (unitMs[unit] ?? 0));
  try {
    return timeOption(invocation, option);
  } catch {
    throw new UsageError(
      `--${option} must be an age such as 30m, 12h or 7d, a date, or a time with its zone, e.g. 2026-12-01T08:00:00Z, not ${JSON.stringify(text.slice(0, 60))}`,
    );
  }
}

/** `50 of 404 tenants; more with --limit`, or undefined where nothing was left out. */
export function cutText(
  shown: number,
  total: number,
  what: string,
  totalText = String(total),
): string | undefined {
  if (shown >= total) return undefined;
  return `${shown} of ${totalText} ${what}; more with --limit`;
}

/** Notes what `cutText` says. `what` is the plural of what is listed, e.g. `dead letters`. */
export function noteCut(invocation: Invocation, shown: number, total: number, what: string): void {
  const text = cutText(shown, total, what);
  if (text !== undefined) invocation.note(text);
}

export interface ListTable<Row> {
  /** Plural of what is listed, e.g. `tenants`. */
  readonly what: string;
  /** Printed instead of an empty table. */
  readonly empty?: string;
  readonly head: readonly string[];
  readonly cells: (row: Row) => readonly Cell[];
  readonly maxWidth?: number;
}

/**
 * Prints rows of `listOptions`. `rows` is all of them, or their beginning and `total` their number: the list is cut to
 * its limit here.
 */
export function printList<Row>(
  invocation: Invocation,
  rows: readonly Row[],
  { what, empty, head, cells, maxWidth }: ListTable<Row>,
  total = rows.length,
): void {
  const json = invocation.flag('json');
  const shown = rows.slice(0, listLimit(invocation));
  if (json) invocation.print(JSON.stringify(shown));
  else if (shown.length === 0 && empty !== undefined) invocation.print(empty);
  else invocation.print(formatTable(head, shown.map(cells), maxWidth));
  noteCut(invocation, shown.length, total, what);
}
