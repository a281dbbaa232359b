/** `purser schedules list`: every schedule, or those of one tenant as they apply to it now. */
import { exitCodes, PurserError } from '../../../errors.ts';
import { unknownName } from '../../../names.ts';
import type { Queryable } from '../../../db/connect.ts';
import { listTenantSchedules, summariseSchedules } from '../../../schedules/settings.ts';
import type { TenantSchedule } from '../../../schedules/settings.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { listOptions, printList } from '../../terminal/cut-list.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { formatTable } from '../../terminal/table.ts';
import { tenantOption } from './target.ts';
import { policyText } from './timing.ts';

function pauseText(by: string | null | undefined, reason: string | null | undefined): string {
  return `paused by ${by ?? 'SQL'}${reason === null || reason === undefined ? '' : `: ${reason}`}`;
}

async function list(invocation: Invocation): Promise<number> {
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const tenantId = invocation.value('tenant');
    if (tenantId !== undefined) return listOfTenant(invocation, sql, tenantId);
    const rows = await summariseSchedules(sql);
    printList(invocation, rows, {
      what: 'schedules',
      empty: 'there are no schedules; add one with: purser schedules set',
      head: [
        'job type',
        'cohort',
        'cron',
        'zone',
        'splay s',
        'missed',
        'enabled',
        'tenants',
        'overridden',
        'paused',
      ],
      cells: (row) => [
        row.jobType,
        row.cohort,
        row.cron,
        row.zone,
        row.splaySeconds,
        policyText(row),
        row.enabled ? 'yes' : pauseText(row.pausedBy, row.pausedReason),
        row.tenants,
        row.overridden,
        row.paused,
      ],
    });
    return exitCodes.ok;
  });
}

async function listOfTenant(
  invocation: Invocation,
  sql: Queryable,
  tenantId: string,
): Promise<number> {
  const rows = await listTenantSchedules(sql, tenantId);
  const [known] = await sql`select from public.tenants where id = ${tenantId}`;
  if (known === undefined) throw new PurserError('unknown_tenant', unknownName('tenant', tenantId));
  if (invocation.flag('json')) invocation.print(JSON.stringify(rows));
  else invocation.print(tenantSchedulesTable(rows));
  return exitCodes.ok;
}

/** Also what `tenants add` prints. */
export function tenantSchedulesTable(rows: readonly TenantSchedule[]): string {
  if (rows.length === 0) return 'it has no schedules';
  return formatTable(
    ['job type', 'cohort', 'cron', 'zone', 'splay s', 'missed', 'own', 'next run'],
    rows.map((row) => [
      row.jobType,
      row.cohort,
      row.cron,
      row.zone,
      row.splaySeconds,
      policyText(row),
      row.isOverridden ? 'yes' : 'no',
      nextText(row),
    ]),
  );
}

function nextText({ pausedBy, pause, cron, lastBucket, nextDue }: TenantSchedule): string {
  if (pausedBy !== null) return pauseText(pause?.by, pause?.reason);
  if (cron === null) return 'none: its cohort has no schedule';
  if (lastBucket === null && nextDue.getTime() <= Date.now()) return 'at once (it has never run)';
  return nextDue.toISOString().replace(/\.\d+Z$/, 'Z');
}

export const listCommand: Command = {
  path: 'schedules list',
  summary: 'list schedules by cohort with their tenants, or the schedules of one tenant',
  options: { tenant: tenantOption, ...listOptions },
  run: list,
};
