/** What the sums by day say, and what the ledger says. */
import { expect } from 'vitest';
import { formatUsd, parseUsd } from '../../../src/budget/money.ts';
import { addUpSpend } from '../../../src/budget/spend/add-up.ts';
import { spendTable } from '../../../src/budget/spend/table.ts';
import type { Sql } from '../../../src/db/connect.ts';

/** Twice: the first finds out which transactions are open, the second adds what they could have written. */
export async function addUp(sql: Sql): Promise<void> {
  await addUpSpend(sql);
  await addUpSpend(sql);
}

export const position = async (sql: Sql): Promise<number> => {
  const [row] = await sql<{ id: number }[]>`
    select ledger_id::float8 as id from purser.llm_spend_position`;
  return row?.id ?? -1;
};

export const lastId = async (sql: Sql): Promise<number> => {
  const [row] = await sql<
    { id: number }[]
  >`select coalesce(max(id), 0)::float8 as id from llm_ledger`;
  return row?.id ?? -1;
};

/** Of a tenant's ledger, and of its table, by what is asked. */
export async function figuresOf(sql: Sql, tenantId: string) {
  const table = await spendTable(sql, { tenantId, by: ['jobType', 'day'], limit: 100 });
  const [ledger] = await sql<{ spent: string; held: string; unknown: string }[]>`
    select coalesce(sum(spent_delta_usd), 0)::text as spent, coalesce(sum(reserved_delta_usd), 0)::text as held,
      coalesce(sum(unknown_delta_usd), 0)::text as unknown
    from llm_ledger where tenant_id = ${tenantId} and period_start = ${table.month}::date`;
  const exact = (usd: string | undefined) => formatUsd(parseUsd(usd ?? '0'));
  const rows = table.rows.reduce((sum, { spentUsd }) => sum + parseUsd(spentUsd), 0n);
  return {
    ledger: {
      spentUsd: exact(ledger?.spent),
      heldUsd: exact(ledger?.held),
      unknownUsd: exact(ledger?.unknown),
    },
    total: table.total,
    rows: formatUsd(rows),
  };
}

export async function expectLedger(sql: Sql, tenantId: string, spentUsd: string): Promise<void> {
  const { ledger, total, rows } = await figuresOf(sql, tenantId);
  expect(ledger.spentUsd).toBe(spentUsd);
  expect(total).toMatchObject(ledger);
  expect(rows).toBe(spentUsd);
}
