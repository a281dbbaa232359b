/**
 * Claims tenants whose schedule is due and makes their jobs, in one short transaction. Any number of schedulers may
 * run: rows locked by another one are skipped, and the tick's key makes its job unique. The database's clock decides
 * what is due.
 */
import type { Queryable, Sql } from '../db/connect.ts';
import { isRowFault } from '../db/row-faults.ts';
import { listSchedules } from './defaults.ts';
import type { Schedule } from './defaults.ts';
import { ticksAround } from './ticks.ts';
import type { Ticks } from './ticks.ts';

export interface ClaimResult {
  readonly claimed: number;
  readonly created: number;
  /** Ticks that had a job already. */
  readonly deduplicated: number;
}

interface Tick extends Schedule, Ticks {}

const nothing: ClaimResult = { claimed: 0, created: 0, deduplicated: 0 };

export interface ClaimOptions {
  /** Called with a schedule that cannot be computed, which is then left out. */
  readonly onInvalid?: (schedule: Schedule, error: unknown) => void;
  /** Called with a tenant whose schedules cannot be claimed. Default: throws the error. */
  readonly onTenantFault?: (tenantId: string, error: unknown) => void;
  /** Job types whose schedules stay as they are; their missed ticks collapse into one when they are claimed again. */
  readonly excludedJobTypes?: readonly string[] | undefined;
  /** Maximum rows per claim. Default 500. */
  readonly limit?: number;
  /** Added to the database's time. Default 0. */
  readonly offsetMs?: number;
}

/** Claims due rows. Missed ticks of a tenant are replaced by its newest one. */
export async function claimDueTenants(sql: Sql, options: ClaimOptions = {}): Promise<ClaimResult> {
  const { onInvalid = () => {}, onTenantFault, excludedJobTypes = [] } = options;
  const { limit = 500, offsetMs = 0 } = options;
  const schedules = await listSchedules(sql);
  const included = schedules.filter(({ jobType }) => !excludedJobTypes.includes(jobType));
  const now = await databaseTime(sql, offsetMs);
  const ticks = ticksOf(included, now, onInvalid);
  if (ticks.length === 0) return nothing;
  try {
    return await claimTicks(sql, ticks, now, limit);
  } catch (error) {
    if (onTenantFault === undefined || !isRowFault(error)) throw error;
    return claimTenantByTenant(sql, ticks, now, limit, onTenantFault);
  }
}

async function databaseTime(sql: Sql, offsetMs: number): Promise<Date> {
  const [row] = await sql<{ now: Date }[]>`
    select now() + ${offsetMs} * interval '1 millisecond' as now`;
  if (row === undefined) throw new Error('the database gave no time');
  return row.now;
}

/** After a claim that failed by the fault of a row: only the tenants of such rows are left out. */
async function claimTenantByTenant(
  sql: Sql,
  ticks: readonly Tick[],
  now: Date,
  limit: number,
  onTenantFault: (tenantId: string, error: unknown) => void,
): Promise<ClaimResult> {
  const rows = await sql<{ id: string }[]>`
    select tenant_id as id from public.tenant_schedules where enabled and next_due <= ${now}
    group by tenant_id order by min(next_due) limit ${limit}`;
  const total = { ...nothing };
  for (const { id } of rows) {
    try {
      const { claimed, created, deduplicated } = await claimTicks(sql, ticks, now, limit, id);
      total.claimed += claimed;
      total.created += created;
      total.deduplicated += deduplicated;
    } catch (error) {
      if (!isRowFault(error)) throw error;
      onTenantFault(id, error);
    }
  }
  return total;
}

/** Claims the due rows of all tenants, or of one. */
async function claimTicks(
  sql: Queryable,
  ticks: readonly Tick[],
  now: Date,
  limit: number,
  tenantId: string | null = null,
): Promise<ClaimResult> {
  const [row] = await sql<{ claimed: number; created: number }[]>`
    select claimed, created
    from purser.claim_schedules(${JSON.stringify(ticks)}::text::jsonb, ${now}, ${limit}, ${tenantId})`;
  if (row === undefined) throw new Error('the claim gave no answer');
  return { ...row, deduplicated: row.claimed - row.created };
}

/** A schedule that cannot be computed is reported and left out. */
function ticksOf(
  schedules: readonly Schedule[],
  now: Date,
  onInvalid: (schedule: Schedule, error: unknown) => void,
): Tick[] {
  return schedules.flatMap((schedule) => {
    try {
      return [{ ...schedule, ...ticksAround(schedule.cron, schedule.zone, now) }];
    } catch (error) {
      onInvalid(schedule, error);
      return [];
    }
  });
}
