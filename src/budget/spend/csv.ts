/** What was spent as CSV for a spreadsheet. */
import { csvRecord, plainCell } from '../report/csv-text.ts';
import type { SpendKey } from './read.ts';
import type { SpendTable } from './table.ts';

const titles: Readonly<Record<SpendKey, string>> = {
  tenantId: 'tenant',
  jobType: 'job_type',
  provider: 'provider',
  model: 'model',
  providerKey: 'provider_key',
  day: 'day',
  countsApart: 'counts',
};

/** The header and one record per row. Texts that a spreadsheet would take for a formula get an apostrophe in front. */
export function spendCsv({ month, rows }: SpendTable, by: readonly SpendKey[]): string[] {
  const head = ['month', ...by.map((key) => titles[key]), 'spent_usd', 'held_usd', 'unknown_usd'];
  return [
    csvRecord([...head, 'calls', 'settled_calls', 'counts']),
    ...rows.map((row) =>
      csvRecord([
        month.slice(0, 7),
        ...by.map((key) => plainCell(String(row[key] ?? ''))),
        row.spentUsd,
        row.heldUsd,
        row.unknownUsd,
        row.calls,
        row.settledCalls,
        row.countsApart ? 'apart' : 'in budget',
      ]),
    ),
  ];
}
