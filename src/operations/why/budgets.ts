/** The limit of money that a parked job does not fit into: what it needs, what is available, and when it resets. */
import type { Queryable } from '../../db/connect.ts';
import { option, purserCommand } from '../shell-text.ts';
import type { Cause } from './cause.ts';
import type { JobPlace } from './place.ts';

/** The last call of the job that was refused, or else its last one. */
export interface Refusal {
  readonly tenantId: string;
  readonly provider: string | null;
  readonly model: string | null;
  /** Above 0 a scope of the tenant, below 0 one of the fleet; null: the tenant's month. */
  readonly scopeId: string | null;
  readonly value: string | null;
  readonly breakers: readonly string[] | null;
  /** By the tenant's own key, which the month does not count. */
  readonly countsApart: boolean;
}

interface Room {
  readonly title: string;
  readonly limitUsd: string | null;
  readonly availableUsd: string | null;
  readonly limitCalls: string | null;
  readonly availableCalls: string | null;
  readonly resetsAt: Date | null;
  readonly isShort: boolean;
  /** What is missing, in dollars; null where only calls are. */
  readonly missingUsd: string | null;
  readonly command: readonly string[];
}

/** undefined: the job would fit, by itself. */
export async function exceededLimit(
  sql: Queryable,
  job: JobPlace,
  refusal: Refusal | undefined,
): Promise<Cause | undefined> {
  const needed = job.neededUsd ?? '0';
  const month = refusal?.countsApart === true ? undefined : await monthOf(sql, job, needed);
  const scopeId = refusal?.scopeId ?? null;
  const scope =
    refusal === undefined || scopeId === null
      ? undefined
      : scopeId.startsWith('-')
        ? await fleetScopeOf(sql, scopeId, needed)
        : await scopeOf(sql, refusal, needed);
  const room = [scope, month].find((one) => one?.isShort);
  if (room === undefined) return undefined;
  const { title, limitUsd, availableUsd, limitCalls, availableCalls, resetsAt } = room;
  const calls =
    limitCalls === null ? '' : ` and ${availableCalls ?? '0'} of its ${limitCalls} calls are left`;
  const money =
    limitUsd === null ? 'one call' : `$${needed}, and $${availableUsd ?? '0'} of $${limitUsd}`;
  const resets = resetsAt === null ? '' : `; it resets at ${resetsAt.toISOString()}`;
  return {
    code: 'budget',
    says: `it needs ${money}${limitUsd === null ? '' : ' is available'} in ${title}${calls}${resets}`,
    lift: purserCommand(...room.command),
    facts: {
      limit: title,
      neededUsd: needed,
      availableUsd,
      limitUsd,
      missingUsd: room.missingUsd,
      resetsAt: resetsAt?.toISOString() ?? null,
      ...(limitCalls === null ? {} : { limitCalls, availableCalls }),
    },
  };
}

async function monthOf(
  sql: Queryable,
  { tenantId }: JobPlace,
  needed: string,
): Promise<Room | undefined> {
  const [month] = await sql<Omit<Room, 'title' | 'command'>[]>`
    select trim_scale(monthly_limit_usd + top_up_usd)::text as "limitUsd", trim_scale(available_usd)::text as "availableUsd",
      null as "limitCalls", null as "availableCalls", resets_at as "resetsAt",
      hard_limit and available_usd < ${needed}::numeric as "isShort",
      trim_scale(greatest(0, ${needed}::numeric - available_usd))::text as "missingUsd"
    from public.llm_budget_status where tenant_id = ${tenantId}`;
  if (month === undefined) return undefined;
  const target = option('tenant', tenantId);
  const command = ['budget', 'top-up', target, '--usd', month.missingUsd ?? '0'];
  return {
    ...month,
    title: `the month of tenant ${tenantId}`,
    command: [...command, '--reason', 'REASON'],
  };
}

interface ScopeRow extends Omit<Room, 'title' | 'command'> {
  readonly kind: string;
  readonly subject: string;
  readonly period: string;
}

async function scopeOf(
  sql: Queryable,
  { tenantId, scopeId, value }: Refusal,
  needed: string,
): Promise<Room | undefined> {
  const [row] = await sql<ScopeRow[]>`
    select r.*, coalesce(r."availableUsd"::numeric < ${needed}::numeric, false)
        or coalesce(r."availableCalls"::bigint < 1, false) as "isShort",
      trim_scale(greatest(0, ${needed}::numeric - r."availableUsd"::numeric))::text as "missingUsd"
    from (
      select s.kind, s.subject, s.period, trim_scale(s.limit_usd + coalesce(p.top_up_usd, 0))::text as "limitUsd",
        trim_scale(s.limit_usd + coalesce(p.top_up_usd, 0)
          - coalesce(p.spent_usd + p.unknown_usd + p.reserved_usd, 0))::text as "availableUsd",
        s.limit_calls as "limitCalls", s.limit_calls - coalesce(p.calls, 0) as "availableCalls",
        p.ends_at as "resetsAt"
      from public.llm_scopes s
      left join public.llm_scope_periods p on p.scope_id = s.id and p.value = ${value}
        and p.starts_at <= now() and p.ends_at > now()
      where s.id = ${scopeId} and s.hard_limit) r`;
  if (row === undefined) return undefined;
  const { kind, subject, period } = row;
  const word = kind.replace('_', '-');
  return {
    ...row,
    title: `the ${period === 'day' ? 'daily' : period === 'month' ? 'monthly' : 'total'} limit of ${
      kind === 'tenant' ? 'tenant' : `${kind.replace('_', ' ')} ${value ?? subject} of tenant`
    } ${tenantId}`,
    command: [
      'scopes',
      'set',
      option('tenant', tenantId),
      '--kind',
      word,
      ...(subject === '*' ? [] : [option('subject', subject)]),
      ...(period === 'job' ? [] : ['--each', period]),
      ...(row.limitUsd === null ? ['--calls', 'N'] : ['--limit', 'USD']),
    ],
  };
}

async function fleetScopeOf(
  sql: Queryable,
  scopeId: string,
  needed: string,
): Promise<Room | undefined> {
  const [row] = await sql<
    (Omit<ScopeRow, 'subject'> & { subject: string | null; provider: string | null; of: string })[]
  >`
    select kind, provider, subject, period, purser.fleet_scope_title(kind, provider, subject) as of,
      trim_scale(limit_usd)::text as "limitUsd", trim_scale(available_usd)::text as "availableUsd", null as "limitCalls",
      null as "availableCalls", ends_at as "resetsAt", hard_limit and available_usd < ${needed}::numeric as "isShort",
      trim_scale(greatest(0, ${needed}::numeric - available_usd))::text as "missingUsd"
    from public.llm_fleet_status where fleet_scope_id = ${scopeId}`;
  if (row === undefined) return undefined;
  const { kind, provider, subject, period, of } = row;
  return {
    ...row,
    title: `the ${period === 'day' ? 'daily' : 'monthly'} limit of all tenants for ${of}`,
    command: [
      'fleet-scopes',
      'set',
      '--kind',
      kind.replace('_', '-'),
      ...(provider === null ? [] : [option('provider', provider)]),
      ...(subject === null ? [] : [option(kind === 'model' ? 'model' : 'key', subject)]),
      '--each',
      period,
      '--limit',
      'USD',
    ],
  };
}
