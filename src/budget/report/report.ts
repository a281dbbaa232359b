/**
 * What LLM calls cost in one month, by tenant, job type and model. Reads one REPEATABLE READ snapshot of the ledger, so
 * that its sums are those of the budgets, adjustments and deleted tenants included.
 */
import type { Sql, Tx } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import { formatUsd, parseUsd } from '../money.ts';
import { monthOf } from './month.ts';
import type { ReportRequest } from './month.ts';
import { countRefusals } from './refusals.ts';

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

export interface ReportRow extends ReportSums {
  readonly tenantId: string;
  /** Empty where the job was deleted. */
  readonly jobType: string;
  /** Empty where the reservation was deleted with its tenant; of refusals, which name no model. */
  readonly provider: string;
  readonly model: string;
}

export interface BudgetReport {
  /** First day of the UTC month. */
  readonly month: string;
  readonly at: Date;
  readonly total: ReportSums;
  /** By tenant, job type, provider and model. */
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
        const name = JSON.stringify([key.tenantId, key.jobType, key.provider, key.model]);
        const group = groups.get(name) ?? { key, counted: nothing() };
        groups.set(name, group);
        return group.counted;
      };
      for (const row of await sumCalls(tx, month, request.tenantId)) {
        const { tenantId, jobType, provider, model } = row;
        add(groupOf({ tenantId, jobType, provider, model }), countedOf(row));
      }
      for (const { refused, ...key } of await countRefusals(tx, month, request.tenantId)) {
        groupOf(key).refused += refused;
      }
      const total = nothing();
      for (const { counted } of groups.values()) add(total, counted);
      return { month, at, total: sumsOf(total), rows: rowsOf([...groups.values()]) };
    }),
  );
}

type RowKey = Pick<ReportRow, 'tenantId' | 'jobType' | 'provider' | 'model'>;

function rowsOf(groups: readonly { key: RowKey; counted: Counted }[]): ReportRow[] {
  const order = ({ key }: { key: RowKey }) =>
    [key.tenantId, key.jobType, key.provider, key.model].join('\u0000');
  return groups
    .map((group) => ({ ...group, at: order(group) }))
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
    settledSpent: parseUsd(row.settledSpent),
    settledHold: parseUsd(row.settledHold),
    calls: row.calls,
    settledCalls: row.settledCalls,
    unknownCalls: row.unknownCalls,
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

interface CallSums extends RowKey {
  readonly spent: string;
  readonly held: string;
  readonly unknown: string;
  readonly settledSpent: string;
  readonly settledHold: string;
  readonly calls: number;
  readonly settledCalls: number;
  readonly unknownCalls: number;
}

/**
 * Reservations of a later version keep their job type, and usage that was assumed says so: those columns are read
 * through the row, which has none of them in this version. An assumed cost is its hold and tells nothing of efficiency.
 */
async function sumCalls(tx: Tx, month: string, tenantId: string | undefined): Promise<CallSums[]> {
  return tx<CallSums[]>`
    with moved as (
      select l.reservation_id, min(l.tenant_id) as tenant_id, sum(l.spent_delta_usd) as spent,
        sum(l.reserved_delta_usd) as held, sum(l.unknown_delta_usd) as unknown
      from llm_ledger l
      where l.period_start = ${month}::date
        and (${tenantId ?? null}::text is null or l.tenant_id = ${tenantId ?? null}::text)
      group by l.reservation_id
    ), called as (
      select m.*, r.status, r.estimated_cost_usd as hold, coalesce(r.provider, '') as provider,
        coalesce(r.model, '') as model, coalesce(to_jsonb(r) ->> 'job_type', j.job_type, '') as job_type,
        r.status = 'APPLIED' and coalesce(to_jsonb(u) ->> 'assumed', 'false') = 'false' as is_measured
      from moved m
      left join llm_reservations r on r.id = m.reservation_id
      left join llm_usage u on u.reservation_id = r.id
      left join jobs j on j.id = r.job_id
    )
    select tenant_id as "tenantId", job_type as "jobType", provider, model, sum(spent) as spent, sum(held) as held,
      sum(unknown) as unknown, coalesce(sum(spent) filter (where is_measured), 0) as "settledSpent",
      coalesce(sum(hold) filter (where is_measured), 0) as "settledHold", count(*)::int as calls,
      (count(*) filter (where status = 'APPLIED'))::int as "settledCalls",
      (count(*) filter (where status = 'UNKNOWN'))::int as "unknownCalls"
    from called group by 1, 2, 3, 4`;
}
