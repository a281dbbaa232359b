/** The month of a report. */
import type { Tx } from '../../db/connect.ts';

export interface ReportRequest {
  /** First day of a UTC month, `2026-11-01`. Default: the current one, by the database's clock. */
  readonly month?: string | undefined;
  /** Only this tenant. */
  readonly tenantId?: string | undefined;
}

/** The first day of the month, and the time of the snapshot. */
export async function monthOf(
  tx: Tx,
  month: string | undefined,
): Promise<{ month: string; at: Date }> {
  const [row] = await tx<{ month: string; at: Date }[]>`
    select coalesce(${month ?? null}::date, date_trunc('month', now() at time zone 'UTC')::date)::text as month,
      now() as at`;
  if (row === undefined) throw new Error('the database has no clock');
  return row;
}
