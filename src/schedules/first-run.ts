/**
 * The first runs of a new tenant's schedules, which are due at once. While the first data is being uploaded they can be
 * delayed, for a limited time.
 */
import type { Queryable } from '../db/connect.ts';

/** Holds schedules that never ran for `holdMs`; after that they run anyway. */
export async function delayFirstRuns(
  sql: Queryable,
  tenantId: string,
  delayMs: number,
): Promise<number> {
  const delayed = await sql`
    update public.tenant_schedules set next_due = now() + ${delayMs} * interval '1 millisecond'
    where tenant_id = ${tenantId} and last_bucket is null`;
  return delayed.count;
}

/** Makes schedules that never ran due now. */
export async function endFirstRunDelay(sql: Queryable, tenantId: string): Promise<number> {
  const due = await sql`
    update public.tenant_schedules set next_due = least(next_due, now())
    where tenant_id = ${tenantId} and last_bucket is null`;
  return due.count;
}
