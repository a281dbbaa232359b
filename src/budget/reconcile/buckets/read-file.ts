/** Adds up the rows of a provider's file by UTC day, model and service tier. */
import { floatError } from '../amounts.ts';
import type { BucketEntry, BucketRow, BucketShape } from '../shapes/shape.ts';
import { modelKey } from '../shapes/models.ts';
import type { FileRow } from '../shapes/row.ts';
import { addTo } from './groups.ts';
import type { Groups } from './groups.ts';

export interface RowFilter {
  /** Only rows of this project or workspace, by id or name. */
  readonly project?: string | undefined;
  /** Only rows of this API key, by id or name. */
  readonly key?: string | undefined;
  /** UTC days; `to` is the day after the last one. */
  readonly from?: string | undefined;
  readonly to?: string | undefined;
}

export interface Aside {
  rows: number;
  atto: bigint;
}

export interface ReadBuckets {
  readonly rows: number;
  /** First and last UTC day; undefined where no row was taken. */
  readonly days: { readonly first: string; readonly last: string } | undefined;
  /** Most decimals of an amount: what the file rounds to. */
  readonly decimals: number;
  /** Whether any row names a model. */
  readonly byModel: boolean;
  /** Rows that were left out, by why. */
  readonly aside: ReadonlyMap<string, Aside>;
  readonly projects: ReadonlySet<string>;
  readonly keys: ReadonlySet<string>;
}

/** Throws what the shape throws. */
export async function readBuckets(
  rows: AsyncIterable<FileRow>,
  shape: BucketShape,
  filter: RowFilter,
  groups: Groups,
): Promise<ReadBuckets> {
  const read = { rows: 0, decimals: 0, byModel: false, first: '', last: '' };
  const aside = new Map<string, Aside>();
  const projects = new Set<string>();
  const keys = new Set<string>();
  const leaveOut = (why: string, atto: bigint): void => {
    const before = aside.get(why) ?? { rows: 0, atto: 0n };
    aside.set(why, { rows: before.rows + 1, atto: before.atto + atto });
  };
  for await (const fileRow of rows) {
    read.rows += 1;
    const row = shape.read(fileRow);
    const why = row.aside ?? reasonToSkip(row, filter);
    if (why !== undefined) {
      leaveOut(why, row.asideAmount?.atto ?? sumOf(row.entries));
      continue;
    }
    if (row.projects[0] !== undefined) projects.add(row.projects[0]);
    if (row.keys[0] !== undefined) keys.add(row.keys[0]);
    if (read.first === '' || row.day < read.first) read.first = row.day;
    if (row.day > read.last) read.last = row.day;
    for (const entry of row.entries) {
      read.byModel ||= entry.model !== null;
      read.decimals = Math.max(read.decimals, entry.amount?.decimals ?? 0);
      addEntry(groups, row.day, entry);
    }
  }
  const { first, last } = read;
  const days = first === '' ? undefined : { first, last };
  const { decimals, byModel } = read;
  return { rows: read.rows, days, decimals, byModel, aside, projects, keys };
}

function reasonToSkip(row: BucketRow, { project, key, from, to }: RowFilter): string | undefined {
  if (project !== undefined && !row.projects.includes(project)) return 'rows of other projects';
  if (key !== undefined && !row.keys.includes(key)) return 'rows of other keys';
  const isOutside = (from !== undefined && row.day < from) || (to !== undefined && row.day >= to);
  return isOutside ? 'rows of other days' : undefined;
}

const sumOf = (entries: readonly BucketEntry[]): bigint =>
  entries.reduce((sum, { amount }) => sum + (amount?.atto ?? 0n), 0n);

function addEntry(groups: Groups, day: string, entry: BucketEntry): void {
  const { model, tier, amount, count, cell } = entry;
  const group = groups.of(day, tier, model === null ? '' : modelKey(model));
  if (model !== null) group.names.add(model);
  const { file } = group;
  if (amount === null) file.withoutAmount += 1;
  else {
    file.priced += 1;
    file.amount += amount.atto;
    file.floatError += floatError(amount.atto);
  }
  if (count !== null) addTo(file.counts, cell, count);
  else if (amount === null || amount.atto !== 0n) file.withoutCount += 1;
}
