/**
 * Refusals of a month. A refusal writes nothing, so that it costs less than a reserve; what is counted is the end of the
 * attempt, which job_history records in any case. A refusal that a handler caught is in no count.
 */
import type { Tx } from '../../db/connect.ts';

interface Refusals {
  readonly tenantId: string;
  readonly jobType: string;
  /** Empty: the end of an attempt names neither. */
  readonly provider: string;
  readonly model: string;
  readonly refused: number;
}

/** Attempts of the UTC month that were parked, or ended for good, because a budget refused a call. */
export async function countRefusals(
  tx: Tx,
  month: string,
  tenantId: string | undefined,
): Promise<Refusals[]> {
  return tx<Refusals[]>`
    select h.tenant_id as "tenantId", coalesce(j.job_type, '') as "jobType", '' as provider, '' as model,
      count(*)::int as refused
    from purser.job_history h left join jobs j on j.id = h.job_id
    where h.error_code = 'budget_exceeded' and h.started_at is not null
      and h.ended_at >= ${month}::date::timestamp at time zone 'UTC'
      and h.ended_at < (${month}::date + interval '1 month') at time zone 'UTC'
      and (${tenantId ?? null}::text is null or h.tenant_id = ${tenantId ?? null}::text)
    group by 1, 2`;
}
