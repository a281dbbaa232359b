/**
 * Limits on jobs of a tenant, of a job type, of a tenant in a type, or of a group: how many are queued or run at once, and
 * how many start in each window. Dispatch counts the rows of jobs in flight and of permits, so that a dead worker leaves
 * nothing behind.
 */
import { atomically } from '../../db/connect.ts';
import type { Queryable, Sql, Tx } from '../../db/connect.ts';
import { codeOf, PurserError } from '../../errors.ts';
import { nameFault, quotedName } from '../../names.ts';
import { assertKnown } from '../pauses.ts';

/** A tenant, a type, both, or a group with or without a tenant. */
export interface LimitTarget {
  readonly tenantId?: string | undefined;
  readonly jobType?: string | undefined;
  /** A name, or `kind:*` for each group whose name begins with `kind:` and has no limit of its own. */
  readonly group?: string | undefined;
  /** Of a group without a tenant: each tenant by itself. Default: all tenants together. */
  readonly eachTenant?: boolean | undefined;
}

export interface LimitValues {
  readonly maxRunning?: number | undefined;
  /** Starts in each window of `perSeconds`; one goes with the other. */
  readonly maxStarts?: number | undefined;
  readonly perSeconds?: number | undefined;
}

/** null: not limited. */
export interface StoredLimit {
  readonly maxRunning: number | null;
  readonly maxStarts: number | null;
  readonly perSeconds: number | null;
}

export interface JobLimit {
  /** null: all tenants, together or each by itself. */
  readonly tenantId: string | null;
  /** null: all types together. */
  readonly jobType: string | null;
  readonly group: string | null;
  readonly eachTenant: boolean;
  readonly maxRunning: number | null;
  readonly maxStarts: number | null;
  readonly perSeconds: number | null;
  /** Whether its starts are those of the tenant's plan. */
  readonly ofPlan: boolean;
  readonly by: string;
  readonly at: Date;
  /** Jobs that count for it now; null for a limit of each group of a kind or of each tenant. */
  readonly inFlight: number | null;
  /** Starts in the last window, and permits of jobs that are about to begin; null as `inFlight`. */
  readonly started: number | null;
}

const foreignKeyViolation = '23503';

/**
 * Adds a limit, or changes what of it is given, and returns which; jobs that run already count, and are not stopped. Throws
 * `unknown_job_type`, `unknown_tenant` or `invalid_name`.
 */
export async function setJobLimit(
  sql: Sql | Tx,
  target: LimitTarget,
  { maxRunning, maxStarts, perSeconds, by }: LimitValues & { readonly by: string },
): Promise<'added' | 'changed'> {
  checkGroupName(target.group);
  try {
    const [row] = await atomically(
      sql,
      (tx) => tx<{ added: boolean }[]>`
      insert into public.job_limits
        (tenant_id, job_type, group_name, each_tenant, max_running, max_starts, per_seconds, by)
      values (${target.tenantId ?? ''}, ${target.jobType ?? ''}, ${target.group ?? ''}, ${target.eachTenant ?? false},
        ${maxRunning ?? null}, ${maxStarts ?? null}, ${perSeconds ?? null}, ${by})
      on conflict (tenant_id, job_type, group_name, each_tenant) do update
        set max_running = coalesce(excluded.max_running, job_limits.max_running),
            max_starts = coalesce(excluded.max_starts, job_limits.max_starts),
            per_seconds = coalesce(excluded.per_seconds, job_limits.per_seconds),
            starts_of_plan = job_limits.starts_of_plan and excluded.max_starts is null,
            by = excluded.by, at = now()
      returning xmax = 0 as added`,
    );
    return row?.added === true ? 'added' : 'changed';
  } catch (error) {
    if (codeOf(error) === foreignKeyViolation) await assertTargetKnown(sql, target);
    throw error;
  }
}

/** Returns what it was; undefined: there was none of its own. Throws like `setJobLimit`. */
export async function clearJobLimit(
  sql: Queryable,
  target: LimitTarget,
): Promise<StoredLimit | undefined> {
  const [cleared] = await sql<StoredLimit[]>`
    delete from public.job_limits
    where tenant_id = ${target.tenantId ?? ''} and job_type = ${target.jobType ?? ''}
      and group_name = ${target.group ?? ''} and each_tenant = ${target.eachTenant ?? false}
      and (max_running is not null or not starts_of_plan)
    returning max_running as "maxRunning", max_starts as "maxStarts", per_seconds as "perSeconds"`;
  if (cleared === undefined) await assertTargetKnown(sql, target);
  return cleared;
}

/** The limit of exactly this target, locked until the end of the transaction. */
export async function lockJobLimit(tx: Tx, target: LimitTarget): Promise<StoredLimit | undefined> {
  const [found] = await tx<StoredLimit[]>`
    select max_running as "maxRunning", max_starts as "maxStarts", per_seconds as "perSeconds"
    from public.job_limits
    where tenant_id = ${target.tenantId ?? ''} and job_type = ${target.jobType ?? ''}
      and group_name = ${target.group ?? ''} and each_tenant = ${target.eachTenant ?? false}
    for update`;
  return found;
}

/**
 * By tenant, then by type and group; those of all tenants first. Limits that a tenant has from its plan alone are only
 * listed of `tenantId`.
 */
export async function listJobLimits(sql: Queryable, tenantId?: string): Promise<JobLimit[]> {
  return sql<JobLimit[]>`
    select nullif(l.tenant_id, '') as "tenantId", nullif(l.job_type, '') as "jobType",
      nullif(l.group_name, '') as "group", l.each_tenant as "eachTenant", l.max_running as "maxRunning",
      l.max_starts as "maxStarts", l.per_seconds as "perSeconds", l.starts_of_plan as "ofPlan", l.by, l.at,
      case when not (l.each_tenant or l.group_name like '%:*') then (
        case
          when l.group_name <> '' then (
            select count(*) from purser.in_flight f
            where f.group_name = l.group_name and l.tenant_id in ('', f.tenant_id))
          when l.tenant_id = '' then (
            select count(*) from purser.in_flight f where f.limited and f.job_type = l.job_type)
          when l.job_type = '' then (
            select count(*) from purser.in_flight f where f.limited and f.tenant_id = l.tenant_id)
          else (
            select count(*) from purser.in_flight f
            where f.limited and f.tenant_id = l.tenant_id and f.job_type = l.job_type)
          end)::int end as "inFlight",
      case when l.max_starts is not null and not (l.each_tenant or l.group_name like '%:*') then (
        select count(*) from purser.rate_slots s
        where s.tenant_id = l.tenant_id and s.job_type = l.job_type and s.group_name = l.group_name
          and s.started_at > now() - l.per_seconds * interval '1 second'
          and s.slot not in (
            select p.slot from purser.left_permits(l.tenant_id, l.job_type, l.group_name, '{}') p))::int end as started
    from public.job_limits l
    where case when ${tenantId === undefined} then l.max_running is not null or not l.starts_of_plan
      else l.tenant_id = ${tenantId ?? null}::text end
    order by l.tenant_id, l.job_type, l.group_name, l.each_tenant`;
}

/** Marks jobs that were dispatched at the moment when a limit was set. Returns their number. */
export async function markLimited(sql: Queryable): Promise<number> {
  const [row] = await sql<{ marked: number }[]>`select purser.mark_limited()::int as marked`;
  return row?.marked ?? 0;
}

/** Removes the permits of limits of which all are free. Returns their number. */
export async function forgetStarts(sql: Queryable): Promise<number> {
  const [row] = await sql<{ forgotten: number }[]>`select purser.forget_starts()::int as forgotten`;
  return row?.forgotten ?? 0;
}

/** The kind is what stands before the first colon. */
const kindPattern = /^[^:*]+:\*$/;

function checkGroupName(group: string | undefined): void {
  if (group === undefined) return;
  const fault = nameFault('group', group);
  if (fault !== undefined) throw new PurserError('invalid_name', fault);
  if (group.endsWith('*') && !kindPattern.test(group)) {
    throw new PurserError(
      'invalid_name',
      `the group ${quotedName(group)} is not allowed in a limit: name one group, or all of a kind by what stands ` +
        'before their first colon, e.g. user:*',
    );
  }
}

async function assertTargetKnown(
  sql: Queryable,
  { tenantId, jobType }: LimitTarget,
): Promise<void> {
  if (tenantId !== undefined) await assertKnown(sql, { scope: 'tenant', name: tenantId });
  if (jobType !== undefined) await assertKnown(sql, { scope: 'job_type', name: jobType });
}
