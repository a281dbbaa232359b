/** `purser budget unknown`: holds that stay charged because the cost of their call is unknown. */
import { listUnknownHolds } from '../../../budget/report/unknown.ts';
import type { UnknownHolds } from '../../../budget/report/unknown.ts';
import { exitCodes, UsageError } from '../../../errors.ts';
import { jobFilter, jobFilterOptions } from '../../reports/job-filter.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { limitOf, noteCut } from '../../terminal/cut-list.ts';
import { formatTable } from '../../terminal/table.ts';

const secondsOf: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

function olderThanSeconds(invocation: Invocation): number | undefined {
  const text = invocation.value('older-than');
  if (text === undefined) return undefined;
  const [, digits, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (digits === undefined) {
    throw new UsageError('--older-than must be a time such as 30m, 48h or 7d');
  }
  return Number(digits) * (secondsOf[unit] ?? 1);
}

function orderOf(invocation: Invocation): 'age' | 'usd' {
  const order = invocation.value('order') ?? 'age';
  if (order === 'age' || order === 'usd') return order;
  throw new UsageError(`there is no order ${JSON.stringify(order)}; use age or usd`);
}

function ageText(seconds: number): string {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800
    ? `${Math.floor(seconds / 3600)} h`
    : `${Math.floor(seconds / 86_400)} d`;
}

const howToResolve =
  'to settle one by an invoice line or a log: purser budget resolve RESERVATION --usd USD --evidence TEXT --reason TEXT';

function pageOf({ holds, usd, ages, oldest }: UnknownHolds): string {
  const listed = formatTable(
    [
      'age',
      'hold',
      'tenant',
      'job',
      'job type',
      'provider',
      'model',
      'key',
      'reservation',
      'request id',
    ],
    oldest.map((hold) => [
      ageText(hold.ageSeconds),
      hold.holdUsd,
      hold.tenantId,
      hold.jobId,
      hold.jobType === '' ? '(deleted job)' : hold.jobType,
      hold.provider,
      hold.model,
      hold.providerKey,
      hold.reservationId,
      hold.requestId,
    ]),
  );
  const sums = formatTable(
    ['age', 'holds', 'USD'],
    [...ages.map((row) => [row.age, row.holds, row.usd]), ['all', holds, usd]],
  );
  return [listed, '', sums, '', howToResolve].join('\n');
}

async function unknown(invocation: Invocation): Promise<number> {
  const request = {
    olderThanSeconds: olderThanSeconds(invocation),
    order: orderOf(invocation),
    limit: limitOf(invocation),
  };
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const { tenantId } = await jobFilter(invocation, sql);
    const found = await listUnknownHolds(sql, { ...request, tenantId });
    if (invocation.flag('json')) invocation.print(JSON.stringify(found));
    else invocation.print(found.holds === 0 ? 'no hold is unknown' : pageOf(found));
    noteCut(invocation, found.oldest.length, found.holds, 'holds');
    return exitCodes.ok;
  });
}

export const unknownCommand: Command = {
  path: 'budget unknown',
  summary: 'list holds that stay charged because the cost of their call is unknown, by age and USD',
  options: {
    tenant: jobFilterOptions.tenant,
    'older-than': { value: 'TIME', help: 'only holds sent at least so long ago, e.g. 48h' },
    order: { value: 'ORDER', help: 'what comes first: age (default) or usd' },
    limit: { value: 'N', help: 'number of holds to list (default 50); the sums have all' },
    json: jsonOption,
  },
  run: unknown,
};
