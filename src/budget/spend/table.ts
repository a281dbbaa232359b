/** What was spent in a month as a table, grouped as its reader chooses, with the sums of all of it. */
import type { Sql, Tx } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import { formatUsd, parseUsd } from '../money.ts';
import { monthOf } from '../report/month.ts';
import { keyColumns, keyNames, spendOf, spendPosition, sumColumns } from './read.ts';
import type { SpendFilter, SpendKey, SpendSums } from './read.ts';

/** Amounts are exact decimal USD. */
export interface SpendFigures {
  readonly spentUsd: string;
  readonly heldUsd: string;
  readonly unknownUsd: string;
  readonly calls: number;
  readonly settledCalls: number;
}

/** Has the keys that were asked for. */
export interface SpendRow extends SpendFigures {
  readonly tenantId?: string;
  readonly jobType?: string;
  readonly provider?: string;
  readonly model?: string;
  readonly providerKey?: string;
  readonly day?: string;
  /** Paid with the tenant's own key, and part of no budget. */
  readonly countsApart: boolean;
}

export interface SpendTable {
  /** First day of the UTC month. */
  readonly month: string;
  /** Of what counts in budgets. */
  readonly total: SpendFigures;
  /** Of what counts apart from them. */
  readonly apart: SpendFigures;
  /** The largest amounts first; grouped by the day alone, in the order of days. */
  readonly rows: readonly SpendRow[];
  /** Whether there are more rows than `limit`. */
  readonly isCut: boolean;
  /** The rows are those of so many tenants only, which spent most. */
  readonly ofTenants: number | undefined;
}

export interface SpendRequest extends Omit<SpendFilter, 'month' | 'tenantIds'> {
  /** Default: the current one, by the database's clock. */
  readonly month?: string | undefined;
  readonly by: readonly SpendKey[];
  readonly limit: number;
  /** Of how many tenants, at most, the days are read one by one. Default: of all. */
  readonly mostTenants?: number | undefined;
}

type GroupRow = SpendSums & Omit<SpendRow, keyof SpendFigures>;

/** Reads only, one snapshot. Throws `store_unavailable`. */
export async function spendTable(sql: Sql, request: SpendRequest): Promise<SpendTable> {
  const { tenantId, jobType, model, limit } = request;
  return mapStoreErrors('read what was spent', () =>
    sql.begin('isolation level repeatable read read only', async (tx) => {
      const { month } = await monthOf(tx, request.month);
      const reader = { tx, position: await spendPosition(tx) };
      const filter = { month, tenantId, jobType, model };
      const totals = await groupRows(reader, filter, { by: [], limit: 2 });
      const totalOf = (isApart: boolean): SpendFigures =>
        figuresOf(totals.find(({ countsApart }) => countsApart === isApart));
      const tenantIds = await leadingTenants(reader, filter, request);
      const groups = await groupRows(
        reader,
        { ...filter, tenantIds },
        { by: request.by, limit: limit + 1 },
      );
      return {
        month,
        total: totalOf(false),
        apart: totalOf(true),
        rows: groups.slice(0, limit).map(rowOf),
        isCut: groups.length > limit,
        ofTenants: tenantIds?.length,
      };
    }),
  );
}

interface Reader {
  readonly tx: Tx;
  readonly position: string;
}

/** Also by whether they count apart. */
async function groupRows(
  { tx, position }: Reader,
  filter: SpendFilter,
  { by, limit }: Pick<SpendRequest, 'by' | 'limit'>,
): Promise<readonly GroupRow[]> {
  const keys: readonly SpendKey[] = [...by, 'countsApart'];
  const isByDay = by.length === 1 && by[0] === 'day';
  return tx<GroupRow[]>`
    with ${spendOf(tx, { ...filter, by }, position)}
    select ${keyColumns(tx, keys)}, ${sumColumns(tx)} from spend group by ${keyNames(tx, keys)}
    order by ${isByDay ? tx`day` : tx`spent desc`}, ${keyNames(tx, keys)} limit ${limit}`;
}

/** Those that spent most, where the days of all tenants would be too many; undefined: all. */
async function leadingTenants(
  reader: Reader,
  filter: SpendFilter,
  { by, mostTenants }: SpendRequest,
): Promise<readonly string[] | undefined> {
  const isWide = by.includes('tenantId') && by.includes('day') && filter.tenantId === undefined;
  if (!isWide || mostTenants === undefined) return undefined;
  const rows = await groupRows(reader, filter, { by: ['tenantId'], limit: mostTenants + 1 });
  const ids = new Set(rows.map(({ tenantId = '' }) => tenantId));
  return ids.size > mostTenants ? [...ids].slice(0, mostTenants) : undefined;
}

const usd = (numeric: string): string => formatUsd(parseUsd(numeric));

function figuresOf(sums: SpendSums | undefined): SpendFigures {
  return {
    spentUsd: usd(sums?.spent ?? '0'),
    heldUsd: usd(sums?.held ?? '0'),
    unknownUsd: usd(sums?.unknown ?? '0'),
    calls: sums?.calls ?? 0,
    settledCalls: sums?.settledCalls ?? 0,
  };
}

function rowOf(group: GroupRow): SpendRow {
  const { spent: _spent, held: _held, unknown: _unknown, settledHold: _hold, ...keys } = group;
  return { ...keys, ...figuresOf(group) };
}
