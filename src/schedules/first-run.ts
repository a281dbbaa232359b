/**
 * A new tenant is due at once. While its first data is still on the way, its first runs can be held for a
 * bounded time, and released when the data is there.
 */
import type { Queryable } from '../db/connect.ts';

/** Holds schedules that never ran for `holdMs`; after that they run anyway. */
export async function delayFirstRuns(
  sql: Queryable,
  tenantId: string,
  delayMs: number,
): Promise<number> {
  const held = await sql`
    update public.tenant_schedules set next_due = now() + ${delayMs} * interval '1 millisecond'
    where tenant_id = ${tenantId} and last_bucket is null`;
  return held.count;
}

/** Makes schedules that never ran due now. */
export async function endFirstRunDelay(sql: Queryable, tenantId: string): Promise<number> {
  const released = await sql`
    update public.tenant_schedules set next_due = least(next_due, now())
    where tenant_id = ${tenantId} and last_bucket is null`;
  return released.count;
}
