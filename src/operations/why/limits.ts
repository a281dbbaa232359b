/** Limits of jobs that leave no room at this moment: how many run or start of how many. */
import type { Queryable } from '../../db/connect.ts';
import { option, purserCommand } from '../shell-text.ts';
import { lengthText } from './cause.ts';
import type { Cause } from './cause.ts';

/** Without a tenant: limits of all tenants together. Without a type: of any type. */
export interface LimitedPlace {
  readonly tenantId?: string | undefined;
  readonly jobType?: string | undefined;
  /** Empty: none. */
  readonly group?: string | undefined;
}

interface LimitRow {
  readonly tenantId: string;
  readonly jobType: string;
  readonly groupName: string;
  readonly eachTenant: boolean;
  readonly by: string;
  readonly maxRunning: number | null;
  readonly running: number | null;
  readonly maxStarts: number | null;
  readonly perSeconds: number | null;
  readonly freeStarts: number | null;
  readonly nextStartAt: Date | null;
}

/** Counts what dispatch counts, for each limit by itself. */
export async function limitCauses(sql: Queryable, place: LimitedPlace): Promise<Cause[]> {
  const { tenantId = '', jobType = '', group = '' } = place;
  const kind = `${/^[^:]*:/.exec(group)?.[0] ?? ''}*`;
  const rows = await sql<LimitRow[]>`
    with own as (
      select l.*, l.tenant_id as of_tenant_id, '' as of_group from public.job_limits l
      where l.group_name = '' and case
        when ${jobType} <> '' then l.tenant_id in ('', ${tenantId}) and l.job_type in ('', ${jobType})
        else l.tenant_id = ${tenantId} end
    ), of_group as (
      (select l.*, ${tenantId}::text, ${group}::text from public.job_limits l
       where ${group} <> '' and l.tenant_id in (${tenantId}, '') and l.job_type = ''
         and l.each_tenant = (l.tenant_id = '') and l.group_name in (${group}, ${kind})
       order by l.tenant_id = '', l.group_name <> ${group} limit 1)
      union all
      (select l.*, '', ${group}::text from public.job_limits l
       where ${group} <> '' and l.tenant_id = '' and l.job_type = '' and not l.each_tenant
         and l.group_name in (${group}, ${kind})
       order by l.group_name <> ${group} limit 1)
    )
    select l.tenant_id as "tenantId", l.job_type as "jobType", l.group_name as "groupName",
      l.each_tenant as "eachTenant", l.by, l.max_running as "maxRunning", l.max_starts as "maxStarts",
      l.per_seconds as "perSeconds",
      case when l.max_running is null then null
        when l.of_group <> '' then (select count(*)::int from purser.in_flight f
          where f.group_name = l.of_group and l.of_tenant_id in ('', f.tenant_id))
        when l.of_tenant_id = '' then (select count(*)::int from purser.in_flight f
          where f.limited and f.job_type = l.job_type)
        else (select count(*)::int from purser.in_flight f
          where f.limited and f.tenant_id = l.of_tenant_id and (l.job_type = '' or f.job_type = l.job_type))
      end as running,
      case when l.max_starts is not null then (
        select f.free::int from purser.free_starts(
          l.of_tenant_id, l.job_type, l.of_group, l.max_starts, l.per_seconds, '{}', 1) f) end as "freeStarts",
      case when l.max_starts > 0 then (
        select min(s.started_at) + l.per_seconds * interval '1 second' from purser.rate_slots s
        where s.tenant_id = l.of_tenant_id and s.job_type = l.job_type and s.group_name = l.of_group
          and s.started_at > now() - l.per_seconds * interval '1 second' and s.started_at < 'infinity'
        ) end as "nextStartAt"
    from (select * from own union all select * from of_group) l
    order by l.tenant_id, l.job_type, l.group_name`;
  return rows.flatMap(causesOf);
}

const titleOf = ({ tenantId, jobType, groupName, eachTenant }: LimitRow): string =>
  [
    ...(groupName === '' ? [] : [`group ${groupName}`]),
    ...(jobType === '' ? [] : [`job type ${jobType}`]),
    ...(tenantId === '' ? [] : [`tenant ${tenantId}`]),
  ].join(' of ') + (eachTenant ? ' of each tenant' : '');

const targetOf = ({ tenantId, jobType, groupName, eachTenant }: LimitRow): string[] => [
  ...(tenantId === '' ? [] : [option('tenant', tenantId)]),
  ...(jobType === '' ? [] : [option('type', jobType)]),
  ...(groupName === '' ? [] : [option('group', groupName)]),
  ...(eachTenant ? ['--each-tenant'] : []),
];

function causesOf(limit: LimitRow): Cause[] {
  const { maxRunning, running, maxStarts, perSeconds, freeStarts, nextStartAt, by } = limit;
  const of = titleOf(limit);
  const causes: Cause[] = [];
  if (maxRunning !== null && running !== null && running >= maxRunning) {
    causes.push({
      code: 'limit_running',
      says: `the limit of ${of}, set by ${by}, is full: ${running} of ${maxRunning} jobs at once are queued or run`,
      lift: purserCommand('limits', 'set', ...targetOf(limit), '--running', 'N'),
      facts: { of, limit: maxRunning, used: running, by },
    });
  }
  if (maxStarts !== null && perSeconds !== null && freeStarts === 0) {
    const next =
      nextStartAt === null ? '' : `; the next one may start at ${nextStartAt.toISOString()}`;
    causes.push({
      code: 'limit_starts',
      says: `the limit of ${of}, set by ${by}, is full: its ${maxStarts} starts in ${lengthText(perSeconds * 1_000)} are used${next}`,
      lift: purserCommand(
        'limits',
        'set',
        ...targetOf(limit),
        '--starts',
        'N',
        '--per',
        `${perSeconds}s`,
      ),
      facts: {
        of,
        limit: maxStarts,
        perSeconds,
        by,
        nextStartAt: nextStartAt?.toISOString() ?? null,
      },
    });
  }
  return causes;
}
