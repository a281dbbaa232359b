/**
 * What LLM calls cost in one month, by tenant, job type, model and key. Reads one REPEATABLE READ snapshot of the ledger and
 * its sums, so that its figures are those of the budgets, adjustments and deleted tenants included.
 */
import type { Sql, Tx } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import { formatUsd, parseUsd } from '../money.ts';
import { monthOf } from './month.ts';
import type { ReportRequest } from './month.ts';
import { keyColumns, keyNames, spendOf, spendPosition, sumColumns } from '../spend/read.ts';
import type { SpendSums } from '../spend/read.ts';
import { countRefusals } from './refusals.ts';
import { countUnknown, sumAssumed } from './rare-calls.ts';
import type { RowKey } from './row-key.ts';

/** Amounts are exact decimal USD. */
export interface ReportSums {
  readonly spentUsd: string;
  /** Holds of calls that have not ended. */
  readonly heldUsd: string;
  /** Holds of calls that were sent and whose cost is unknown. */
  readonly unknownUsd: string;
  /** Attempts that ended because a call was refused by a budget. */
  readonly refused: number;
  readonly calls: number;
  readonly settledCalls: number;
  readonly unknownCalls: number;
  /** Holds of the settled calls. */
  readonly settledHoldUsd: string;
  /** Spent by settled calls, divided by their holds, with 4 decimals; null where nothing is settled. */
  readonly holdEfficiency: string | null;
}

export type ReportRow = ReportSums & RowKey;

export interface BudgetReport {
  /** First day of the UTC month. */
  readonly month: string;
  readonly at: Date;
  /** Of what counts in budgets. */
  readonly total: ReportSums;
  /** Of what counts apart from them. */
  readonly apart: ReportSums;
  /** By tenant, job type, provider, model and key. */
  readonly rows: readonly ReportRow[];
}

/** What is counted of the calls of a tenant, job type and model. Amounts are nano-USD. */
interface Counted {
  spent: bigint;
  held: bigint;
  unknown: bigint;
  settledSpent: bigint;
  settledHold: bigint;
  calls: number;
  settledCalls: number;
  unknownCalls: number;
  refused: number;
}

/** Reads only. Throws `store_unavailable`. */
export async function budgetReport(sql: Sql, request: ReportRequest = {}): Promise<BudgetReport> {
  return mapStoreErrors('report on budgets', () =>
    sql.begin('isolation level repeatable read read only', async (tx) => {
      const { month, at } = await monthOf(tx, request.month);
      const groups = new Map<string, { key: RowKey; counted: Counted }>();
      const groupOf = (key: RowKey): Counted => {
        const name = nameOf(key);
        const group = groups.get(name) ?? { key, counted: nothing() };
        groups.set(name, group);
        return group.counted;
      };
      for (const row of await sumCalls(tx, month, request.tenantId)) {
        const { tenantId, jobType, provider, model, providerKey, countsApart } = row;
        const key = { tenantId, jobType, provider, model, providerKey, countsApart };
        add(groupOf(key), countedOf(row));
      }
      for (const { spent, hold, ...key } of await sumAssumed(tx, month, request.tenantId)) {
        const group = groupOf(key);
        group.settledSpent -= parseUsd(spent);
        group.settledHold -= parseUsd(hold);
      }
      for (const { unknownCalls, ...key } of await countUnknown(tx, month, request.tenantId)) {
        groupOf(key).unknownCalls += unknownCalls;
      }
      for (const { refused, ...key } of await countRefusals(tx, month, request.tenantId)) {
        groupOf(key).refused += refused;
      }
      const [total, apart] = [nothing(), nothing()];
      for (const { key, counted } of groups.values()) add(key.countsApart ? apart : total, counted);
      const rows = rowsOf([...groups.values()]);
      return { month, at, total: sumsOf(total), apart: sumsOf(apart), rows };
    }),
  );
}

type CallSums = RowKey & SpendSums;

const nameOf = (key: RowKey): string =>
  [key.tenantId, key.jobType, key.provider, key.model, key.providerKey, key.countsApart].join(
    '\u0000',
  );

function rowsOf(groups: readonly { key: RowKey; counted: Counted }[]): ReportRow[] {
  return groups
    .map((group) => ({ ...group, at: nameOf(group.key) }))
    .toSorted((a, b) => (a.at < b.at ? -1 : 1))
    .map(({ key, counted }) => ({ ...key, ...sumsOf(counted) }));
}

function nothing(): Counted {
  const money = { spent: 0n, held: 0n, unknown: 0n, settledSpent: 0n, settledHold: 0n };
  return { ...money, calls: 0, settledCalls: 0, unknownCalls: 0, refused: 0 };
}

function add(to: Counted, more: Counted): void {
  to.spent += more.spent;
  to.held += more.held;
  to.unknown += more.unknown;
  to.settledSpent += more.settledSpent;
  to.settledHold += more.settledHold;
  to.calls += more.calls;
  to.settledCalls += more.settledCalls;
  to.unknownCalls += more.unknownCalls;
  to.refused += more.refused;
}

function countedOf(row: CallSums): Counted {
  return {
    spent: parseUsd(row.spent),
    held: parseUsd(row.held),
    unknown: parseUsd(row.unknown),
    settledSpent: parseUsd(row.spent),
    settledHold: parseUsd(row.settledHold),
    calls: row.calls,
    settledCalls: row.settledCalls,
    unknownCalls: 0,
    refused: 0,
  };
}

function sumsOf(counted: Counted): ReportSums {
  const { calls, settledCalls, unknownCalls, refused, settledHold, settledSpent } = counted;
  return {
    spentUsd: formatUsd(counted.spent),
    heldUsd: formatUsd(counted.held),
    unknownUsd: formatUsd(counted.unknown),
    refused,
    calls,
    settledCalls,
    unknownCalls,
    settledHoldUsd: formatUsd(settledHold),
    holdEfficiency: settledHold === 0n ? null : ratio(settledSpent, settledHold),
  };
}

/** Rounded to 4 decimals, half up. */
function ratio(part: bigint, whole: bigint): string {
  const tenThousandths = (part * 20_000n + whole) / (whole * 2n);
  return `${tenThousandths / 10_000n}.${(tenThousandths % 10_000n).toString().padStart(4, '0')}`;
}

/** By tenant, job type, provider, model and key. An assumed cost is its hold and tells nothing of efficiency. */
async function sumCalls(tx: Tx, month: string, tenantId: string | undefined): Promise<CallSums[]> {
  const by = ['tenantId', 'jobType', 'provider', 'model', 'providerKey', 'countsApart'] as const;
  const position = await spendPosition(tx);
  return tx<CallSums[]>`
    with ${spendOf(tx, { month, tenantId, by }, position)}
    select ${keyColumns(tx, by)}, ${sumColumns(tx)} from spend group by ${keyNames(tx, by)}`;
}
