/** Calls of a month that a budget refused, or an operator's stop. */
import type { Tx } from '../../db/connect.ts';

interface Refusals {
  readonly tenantId: string;
  readonly jobType: string;
  readonly provider: string;
  readonly model: string;
  readonly providerKey: string;
  readonly countsApart: boolean;
  readonly refused: number;
}

/** By the UTC month in which they were refused, and the model that was asked for first. */
export async function countRefusals(
  tx: Tx,
  month: string,
  tenantId: string | undefined,
): Promise<Refusals[]> {
  return tx<Refusals[]>`
    select f.tenant_id as "tenantId", f.job_type as "jobType", f.provider, f.model,
      f.provider_key as "providerKey", f.counts_apart as "countsApart", count(*)::int as refused
    from llm_refusals f
    where f.period_start = ${month}::date and f.breakers is null
      and (${tenantId ?? null}::text is null or f.tenant_id = ${tenantId ?? null}::text)
    group by 1, 2, 3, 4, 5, 6`;
}
