/** `purser budget report`: what LLM calls cost in a month, for the terminal, a spreadsheet, a program or an ingestion. */
import { reportCsv } from '../../../budget/report/csv.ts';
import { dailyCosts } from '../../../budget/report/daily.ts';
import { focusCsv } from '../../../budget/report/focus.ts';
import { budgetReport } from '../../../budget/report/report.ts';
import type { BudgetReport, ReportRow, ReportSums } from '../../../budget/report/report.ts';
import { exitCodes, UsageError } from '../../../errors.ts';
import { jobFilter, jobFilterOptions } from '../../reports/job-filter.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { formatTable } from '../../terminal/table.ts';
import type { Cell } from '../../terminal/table.ts';

const formats = ['table', 'csv', 'json', 'focus'] as const;
type Format = (typeof formats)[number];

function formatOf(invocation: Invocation): Format {
  const given = invocation.value('format');
  if (invocation.flag('json')) {
    if (given !== undefined && given !== 'json') {
      throw new UsageError('use --json or --format, not both');
    }
    return 'json';
  }
  const format = formats.find((name) => name === (given ?? 'table'));
  if (format !== undefined) return format;
  throw new UsageError(`there is no format ${JSON.stringify(given)}; use ${formats.join(', ')}`);
}

/** The first day of `--month`; undefined for the current month. */
function monthOf(invocation: Invocation): string | undefined {
  const text = invocation.value('month');
  if (text === undefined) return undefined;
  if (!/^20\d{2}-(0[1-9]|1[0-2])$/.test(text)) {
    throw new UsageError(
      `--month must be a month of UTC from 2000 on, e.g. 2026-11, not ${JSON.stringify(text.slice(0, 40))}`,
    );
  }
  return `${text}-01`;
}

const sumCells = (sums: ReportSums): Cell[] => [
  sums.spentUsd,
  sums.heldUsd,
  sums.unknownUsd,
  sums.refused,
  sums.calls,
  sums.holdEfficiency,
];

const nameCells = ({ tenantId, jobType, provider, model, ...row }: ReportRow): Cell[] => [
  tenantId,
  jobType === '' ? '(deleted job)' : jobType,
  provider,
  model === '' ? '(no model)' : model,
  row.countsApart ? `${row.providerKey} (apart)` : row.providerKey,
];

function tableOf({ month, rows, total, apart }: BudgetReport): string {
  const head = ['tenant', 'job type', 'provider', 'model', 'key'];
  const sums = ['spent', 'held', 'unknown', 'refused', 'calls', 'efficiency'];
  return [
    `${month.slice(0, 7)} (UTC)`,
    formatTable(
      [...head, ...sums],
      [
        ...rows.map((row) => [...nameCells(row), ...sumCells(row)]),
        ['all', '', '', '', '', ...sumCells(total)],
        ...(rows.some(({ countsApart }) => countsApart)
          ? [['all apart from budgets', '', '', '', '', ...sumCells(apart)]]
          : []),
      ],
    ),
  ].join('\n');
}

async function report(invocation: Invocation): Promise<number> {
  const format = formatOf(invocation);
  const month = monthOf(invocation);
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const { tenantId } = await jobFilter(invocation, sql);
    if (format === 'focus') {
      const { month: first, days } = await dailyCosts(sql, { month, tenantId });
      for (const line of focusCsv(first, days)) invocation.print(line);
      return exitCodes.ok;
    }
    const found = await budgetReport(sql, { month, tenantId });
    if (format === 'json') invocation.print(JSON.stringify(found));
    else if (format === 'csv') for (const line of reportCsv(found)) invocation.print(line);
    else if (found.rows.length === 0) {
      invocation.print(`no LLM call in ${found.month.slice(0, 7)} (UTC)`);
    } else invocation.print(tableOf(found));
    return exitCodes.ok;
  });
}

export const reportCommand: Command = {
  path: 'budget report',
  summary:
    "report a month's LLM cost by tenant, job type, model and key: spent, held, unknown, refused, hold efficiency",
  options: {
    month: { value: 'MONTH', help: 'a month of UTC, e.g. 2026-11 (default: the current one)' },
    tenant: jobFilterOptions.tenant,
    format: {
      value: 'FORMAT',
      help: 'table (default), csv for a spreadsheet, json, or focus for `purser ingest`',
    },
    json: jsonOption,
  },
  run: report,
};
