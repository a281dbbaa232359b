/** A report as CSV for a spreadsheet: one line per tenant, job type, model and key. */
import { csvRecord, plainCell } from './csv-text.ts';
import type { BudgetReport, ReportRow } from './report.ts';

const columns = [
  'month',
  'tenant',
  'job_type',
  'provider',
  'model',
  'spent_usd',
  'held_usd',
  'unknown_usd',
  'refused',
  'calls',
  'settled_calls',
  'unknown_calls',
  'settled_hold_usd',
  'hold_efficiency',
  'provider_key',
  'counts',
] as const;

/** The header and one record per row. Texts that a spreadsheet would take for a formula get an apostrophe in front. */
export function reportCsv({ month, rows }: BudgetReport): string[] {
  const record = (row: ReportRow): string =>
    csvRecord([
      month.slice(0, 7),
      plainCell(row.tenantId),
      plainCell(row.jobType),
      plainCell(row.provider),
      plainCell(row.model),
      row.spentUsd,
      row.heldUsd,
      row.unknownUsd,
      row.refused,
      row.calls,
      row.settledCalls,
      row.unknownCalls,
      row.settledHoldUsd,
      row.holdEfficiency,
      plainCell(row.providerKey),
      row.countsApart ? 'apart' : 'in budget',
    ]);
  return [csvRecord(columns), ...rows.map(record)];
}
