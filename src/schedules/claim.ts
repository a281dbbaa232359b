/**
 * Claims tenants whose schedule is due and makes their jobs, in one short transaction. Any number of schedulers may
 * run: rows locked by another one are skipped, and the tick's record makes its job unique. The database's clock decides
 * what is due.
 */
import type { Queryable, Sql } from '../db/connect.ts';
import { isRowFault } from '../db/row-faults.ts';
import { tickWindow } from './ticks.ts';

export interface ClaimResult {
  /** Schedules that were due. */
  readonly claimed: number;
  readonly created: number;
  /** Ticks that had a job already. */
  readonly deduplicated: number;
  /** Ticks that made no job; public.schedule_ticks says why. */
  readonly missed: number;
  /** Schedules that cannot run now: paused, without an expression, or with an invalid one. */
  readonly putOff: number;
}

export interface Expression {
  readonly cron: string;
  readonly zone: string;
}

/** An expression of due schedules, with what they need of its ticks. */
interface DueExpression extends Expression {
  /** The oldest tick that one of them waits for; null when none ever ran. */
  readonly since: Date | null;
  /** The most missed ticks that one of them may run. */
  readonly most: number;
}

interface PassedTicks extends Expression {
  /** null: the expression is invalid. */
  readonly ticks: readonly Date[] | null;
  readonly past: number;
  readonly shortestSeconds: number;
}

export interface ClaimOptions {
  /** Recorded with each tick. Default `unknown`. */
  readonly claimedBy?: string | undefined;
  /** Called with an expression that cannot be computed; its schedules are looked at again after 5 minutes. */
  readonly onInvalid?: (expression: Expression, error: unknown) => void;
  /** Called with a tenant whose schedules cannot be claimed. Default: throws the error. */
  readonly onTenantFault?: (tenantId: string, error: unknown) => void;
  /** Job types whose schedules stay as they are, until they are claimed again. */
  readonly excludedJobTypes?: readonly string[] | undefined;
  /** Tenants whose schedules stay as they are. */
  readonly skippedTenants?: readonly string[] | undefined;
  /** Maximum rows per claim. Default 1,000. */
  readonly limit?: number;
  /** Added to the database's time. Default 0. */
  readonly offsetMs?: number;
}

/** Which rows a claim may take. */
interface Scope {
  readonly limit: number;
  readonly excludedJobTypes: readonly string[];
  readonly skippedTenants: readonly string[];
}

interface ClaimScope extends Scope {
  readonly now: Date;
  readonly claimedBy: string;
}

const nothing: ClaimResult = { claimed: 0, created: 0, deduplicated: 0, missed: 0, putOff: 0 };

/** Enough to count what was missed; older ticks are counted by their usual distance. */
const mostCounted = 100;
/** More than Postgres's deadlock_timeout of a second, so that a deadlock is found and retried. */
const lockTimeoutMs = 2_000;
/** Of one tenant, after the batch has failed: the others do not wait for it again. */
const tenantLockTimeoutMs = 100;
/** After so long, the other expressions are left to the next claim, which finds those of this one computed. */
const mostComputingMs = 1_000;

/** Claims due rows, at most `limit`. What becomes of missed ticks is up to the policy of their schedule. */
export async function claimDueTenants(sql: Sql, options: ClaimOptions = {}): Promise<ClaimResult> {
  const { onInvalid = () => {}, onTenantFault, claimedBy = 'unknown', offsetMs = 0 } = options;
  const { limit = 1_000, excludedJobTypes = [], skippedTenants = [] } = options;
  const rows = { limit, excludedJobTypes, skippedTenants };
  const { now, due } = await listDueExpressions(sql, rows, offsetMs);
  if (due.length === 0) return nothing;
  const ticks = ticksOf(due, now, onInvalid);
  const scope = { ...rows, now, claimedBy };
  try {
    return await claimTicks(sql, ticks, scope);
  } catch (error) {
    if (onTenantFault === undefined || !isRowFault(error)) throw error;
    return claimTenantByTenant(sql, ticks, scope, onTenantFault);
  }
}

async function listDueExpressions(
  sql: Sql,
  { limit, excludedJobTypes, skippedTenants }: Scope,
  offsetMs: number,
): Promise<{ now: Date; due: DueExpression[] }> {
  const rows = await sql<
    ({ now: Date; isDue: boolean } & { [K in keyof DueExpression]: DueExpression[K] | null })[]
  >`
    select clock.now, d.most is not null as "isDue", d.cron, d.zone, d.since, d.most
    from (select now() + ${offsetMs} * interval '1 millisecond' as now) clock
    left join lateral purser.due_crons(
      clock.now, ${limit}, ${[...excludedJobTypes]}::text[], ${[...skippedTenants]}::text[]) d on true`;
  const [first] = rows;
  if (first === undefined) throw new Error('the database gave no time');
  return {
    now: first.now,
    due: rows
      .filter(({ isDue }) => isDue)
      .map(({ cron, zone, since, most }) => ({
        // Empty for schedules without an expression, which are put off.
        cron: cron ?? '',
        zone: zone ?? '',
        since,
        most: most ?? 0,
      })),
  };
}

/** After a claim that failed by the fault of a row: only the tenants of such rows are left out. */
async function claimTenantByTenant(
  sql: Sql,
  ticks: readonly PassedTicks[],
  scope: ClaimScope,
  onTenantFault: (tenantId: string, error: unknown) => void,
): Promise<ClaimResult> {
  const rows = await sql<{ id: string }[]>`
    select tenant_id as id from public.tenant_schedules
    where enabled and next_due <= ${scope.now} and job_type <> all (${[...scope.excludedJobTypes]}::text[])
      and tenant_id <> all (${[...scope.skippedTenants]}::text[])
    group by tenant_id order by min(next_due) limit ${scope.limit}`;
  const total = { ...nothing };
  for (const { id } of rows) {
    try {
      const result = await claimTicks(sql, ticks, scope, id);
      for (const key of keysOf(total)) total[key] += result[key];
    } catch (error) {
      if (!isRowFault(error)) throw error;
      onTenantFault(id, error);
    }
  }
  return total;
}

const keysOf = (result: ClaimResult): (keyof ClaimResult)[] =>
  // The keys of an object literal of this type.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  Object.keys(result) as (keyof ClaimResult)[];

/** Claims the due rows of all tenants, or of one. */
async function claimTicks(
  sql: Queryable,
  ticks: readonly PassedTicks[],
  scope: ClaimScope,
  tenantId: string | null = null,
): Promise<ClaimResult> {
  const [row] = await sql<ClaimResult[]>`
    select claimed, created, deduplicated, missed, put_off as "putOff"
    from purser.claim_schedules(${JSON.stringify(ticks)}::text::jsonb, ${scope.now}, ${scope.limit}, ${tenantId},
      ${[...scope.excludedJobTypes]}::text[], ${[...scope.skippedTenants]}::text[], ${scope.claimedBy},
      ${tenantId === null ? lockTimeoutMs : tenantLockTimeoutMs})`;
  if (row === undefined) throw new Error('the claim gave no answer');
  return { ...row };
}

/** An expression that cannot be computed is reported, and its schedules are put off. */
function ticksOf(
  due: readonly DueExpression[],
  now: Date,
  onInvalid: (expression: Expression, error: unknown) => void,
): PassedTicks[] {
  const endsAtMs = performance.now() + mostComputingMs;
  const ticks: PassedTicks[] = [];
  for (const { cron, zone, since, most } of due) {
    // Schedules without an expression are put off without ticks.
    if (cron === '') continue;
    if (ticks.length > 0 && performance.now() > endsAtMs) break;
    try {
      const wanted = Math.max(most + 1, mostCounted);
      ticks.push({ cron, zone, ...tickWindow(cron, zone, now, since ?? now, wanted) });
    } catch (error) {
      onInvalid({ cron, zone }, error);
      ticks.push({ cron, zone, ticks: null, past: 0, shortestSeconds: 1 });
    }
  }
  return ticks;
}
