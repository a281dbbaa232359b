/** Scopes: the limits of a tenant's LLM calls beside its month. */
import type { Queryable, Sql, Tx } from '../db/connect.ts';
import { mapStoreErrors } from '../db/store-errors.ts';
import { PurserError, UsageError } from '../errors.ts';
import { unknownName } from '../names.ts';
import type { ScopeKind } from './budget-exceeded.ts';
import { formatUsd, parseUsd } from './money.ts';

export const scopeKinds = [
  'tenant',
  'job_type',
  'model',
  'provider_key',
  'end_user',
  'job',
] as const satisfies readonly ScopeKind[];

/** Which scope of a tenant is meant. */
export interface ScopeTarget {
  readonly tenantId: string;
  readonly kind: ScopeKind;
  /**
   * The job type, model, provider key or end user; for `job` the type of the jobs, each of which is limited by itself.
   * Absent: each by itself. A scope of kind `tenant` has none.
   */
  readonly subject?: string | undefined;
  /** A scope of kind `job` lasts as long as its job. */
  readonly period: 'day' | 'month' | 'job';
}

export interface SetScopeRequest extends ScopeTarget {
  /** IANA name, e.g. `Europe/Berlin`. A change takes effect when the running period ends. Default `UTC`. */
  readonly timeZone?: string | undefined;
  /** Decimal USD of at most 9 decimals. */
  readonly limitUsd?: string | undefined;
  readonly limitCalls?: number | undefined;
  /** False admits calls beyond the limit and flags them. */
  readonly hard: boolean;
  readonly by: string;
  /** Default: the database's clock. */
  readonly now?: Date;
}

const eachSubject = '*';
const mostCalls = 1_000_000_000;

/**
 * Adds a scope, counted from the calls that were made in its running period, or changes its limits; effective for every
 * reserve that commits after this call. Throws a `UsageError` for a limit or a zone that is none.
 */
export async function setScope(
  sql: Queryable,
  request: SetScopeRequest,
): Promise<'added' | 'changed' | 'unchanged'> {
  const { tenantId, limitCalls, timeZone = 'UTC', hard, by, now } = request;
  const { kind, subject, period } = checkTarget(request);
  const limitUsd = request.limitUsd === undefined ? null : checkedLimit(request.limitUsd);
  if (limitUsd === null && limitCalls === undefined) {
    throw new UsageError('a scope limits dollars, calls or both');
  }
  if (limitCalls !== undefined && !(Number.isSafeInteger(limitCalls) && limitCalls >= 0)) {
    throw new UsageError(`a limit of calls is a whole number from 0 to ${mostCalls}`);
  }
  if ((limitCalls ?? 0) > mostCalls)
    throw new UsageError(`no scope admits over ${mostCalls} calls`);
  checkTimeZone(timeZone);
  const [row] = await mapStoreErrors(
    'set a scope',
    () => sql<{ outcome: 'added' | 'changed' | 'unchanged' | 'unknown_tenant' }[]>`
      select outcome from purser.set_scope(${tenantId}, ${kind}, ${subject}, ${period}, ${timeZone},
        ${limitUsd}::numeric, ${limitCalls ?? null}::bigint, ${hard}, ${by}, ${now ?? null}::timestamptz)`,
  );
  if (row === undefined || row.outcome === 'unknown_tenant') throw unknownTenant(tenantId);
  return row.outcome;
}

export interface ScopeValues {
  readonly timeZone: string;
  /** Exact decimal USD. */
  readonly limitUsd: string | null;
  readonly limitCalls: number | null;
  readonly hard: boolean;
}

/** Reads a scope and locks it until the end of the transaction, after the months as every writer does. */
export async function lockScope(tx: Tx, target: ScopeTarget): Promise<ScopeValues | undefined> {
  const { kind, subject, period } = checkTarget(target);
  await tx`select purser.lock_months(${target.tenantId}, clock_timestamp())`;
  const [row] = await tx<ScopeValues[]>`
    select time_zone as "timeZone", trim_scale(limit_usd) as "limitUsd", limit_calls::float8 as "limitCalls",
      hard_limit as hard
    from llm_scopes
    where tenant_id = ${target.tenantId} and kind = ${kind} and subject = ${subject} and period = ${period}
    for no key update`;
  return row;
}

/** False where there is no such scope. */
export async function removeScope(sql: Queryable, target: ScopeTarget): Promise<boolean> {
  const { kind, subject, period } = checkTarget(target);
  const [row] = await mapStoreErrors(
    'remove a scope',
    () => sql<{ removed: boolean }[]>`
      select purser.remove_scope(${target.tenantId}, ${kind}, ${subject}, ${period}) as removed`,
  );
  return row?.removed === true;
}

function checkTarget({ kind, subject, period }: ScopeTarget) {
  if ((kind === 'job') !== (period === 'job')) {
    throw new UsageError(
      kind === 'job'
        ? 'a scope of jobs lasts as long as each job: its period is job'
        : 'the period of a scope is day or month; job belongs to a scope of jobs',
    );
  }
  if (kind === 'tenant' && subject !== undefined) {
    throw new UsageError('a scope of the whole tenant has no subject');
  }
  if (subject === eachSubject)
    throw new UsageError('leave the subject out to limit each by itself');
  if (subject !== undefined && (subject === '' || subject.length > 200)) {
    throw new UsageError('the subject of a scope has 1 to 200 characters');
  }
  return { kind, subject: subject ?? eachSubject, period };
}

export function checkedLimit(text: string): string {
  const limitNanoUsd = parseUsd(text);
  if (limitNanoUsd < 0n || limitNanoUsd >= 10n ** 18n) {
    throw new UsageError('a limit is between 0 and 999999999.999999999 USD, e.g. 25.00');
  }
  return formatUsd(limitNanoUsd);
}

export function checkTimeZone(name: string): void {
  try {
    // Refuses an offset such as +02:00, which has no clock changes.
    if (!/^[A-Za-z]/.test(name)) throw new RangeError(name);
    new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions();
  } catch {
    throw new UsageError(
      `${JSON.stringify(name.slice(0, 60))} is not an IANA time zone; write it like Europe/Berlin`,
    );
  }
}

export function unknownTenant(tenantId: string): PurserError {
  return new PurserError(
    'unknown_tenant',
    `${unknownName('tenant', tenantId)}; add it first: purser tenants add ID --plan PLAN`,
    { status: 404 },
  );
}

export interface ScopeStatus {
  readonly tenantId: string;
  readonly kind: ScopeKind;
  /** Null: each by itself. */
  readonly subject: string | null;
  readonly period: 'day' | 'month' | 'job';
  readonly timeZone: string;
  /** Exact decimal USD, as all amounts here; of the scope, without top-ups. */
  readonly limitUsd: string | null;
  readonly limitCalls: number | null;
  readonly hardLimit: boolean;
  /** What these figures are of; null where nothing was called in the running period. */
  readonly value: string | null;
  readonly spentUsd: string;
  readonly unknownUsd: string;
  readonly reservedUsd: string;
  readonly topUpUsd: string;
  readonly calls: number;
  /** Null for a scope of jobs, and where nothing was called in the running period. */
  readonly resetsAt: Date | null;
}

interface StatusRow {
  tenant_id: string;
  kind: ScopeKind;
  subject: string;
  period: 'day' | 'month' | 'job';
  time_zone: string;
  limit_usd: string | null;
  limit_calls: string | null;
  hard_limit: boolean;
  value: string | null;
  spent_usd: string;
  unknown_usd: string;
  reserved_usd: string;
  top_up_usd: string;
  calls: string;
  resets_at: Date | null;
}

/** The scopes of one tenant or of all, with the running period of each value, at most `limit` rows. */
export async function scopeStatus(
  sql: Sql,
  { tenantId, limit = 1000 }: { readonly tenantId?: string | undefined; readonly limit?: number },
): Promise<ScopeStatus[]> {
  const rows = await mapStoreErrors(
    'read scopes',
    () => sql<StatusRow[]>`
      select tenant_id, kind, subject, period, time_zone, trim_scale(limit_usd) as limit_usd, limit_calls, hard_limit,
        value, trim_scale(spent_usd) as spent_usd, trim_scale(unknown_usd) as unknown_usd,
        trim_scale(reserved_usd) as reserved_usd, trim_scale(top_up_usd) as top_up_usd, calls,
        nullif(ends_at, 'infinity') as resets_at
      from llm_scope_status
      where ${tenantId ?? null}::text is null or tenant_id = ${tenantId ?? null}::text
      order by tenant_id, kind, subject, period, value limit ${limit}`,
  );
  return rows.map((row) => ({
    tenantId: row.tenant_id,
    kind: row.kind,
    subject: row.subject === eachSubject ? null : row.subject,
    period: row.period,
    timeZone: row.time_zone,
    limitUsd: row.limit_usd,
    limitCalls: row.limit_calls === null ? null : Number(row.limit_calls),
    hardLimit: row.hard_limit,
    value: row.value,
    spentUsd: row.spent_usd,
    unknownUsd: row.unknown_usd,
    reservedUsd: row.reserved_usd,
    topUpUsd: row.top_up_usd,
    calls: Number(row.calls),
    resetsAt: row.resets_at,
  }));
}
