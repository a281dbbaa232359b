/** What the LLM calls of a job cost, by attempt, as the ledger has it. Reads only. */
import type { Queryable } from '../../db/connect.ts';

export interface AttemptCost {
  readonly attempt: number;
  readonly calls: number;
  /** Exact decimal USD: held by calls that run. */
  readonly reservedUsd: string;
  /** Settled. */
  readonly spentUsd: string;
  /** Charged at the hold, because the cost of the call is unknown. */
  readonly unknownUsd: string;
  readonly unknownCalls: number;
}

/** Of the attempts that made a call, in order. A hold that was released is a call that cost nothing. */
export async function costOfJob(sql: Queryable, jobId: string): Promise<AttemptCost[]> {
  return sql<AttemptCost[]>`
    select coalesce(r.attempt, 0) as attempt, count(*)::int as calls,
      trim_scale(coalesce(sum(l.reserved), 0))::text as "reservedUsd",
      trim_scale(coalesce(sum(l.spent), 0))::text as "spentUsd",
      trim_scale(coalesce(sum(l.unknown), 0))::text as "unknownUsd",
      (count(*) filter (where r.status = 'UNKNOWN'))::int as "unknownCalls"
    from public.llm_reservations r
    left join lateral (
      select sum(reserved_delta_usd) as reserved, sum(spent_delta_usd) as spent, sum(unknown_delta_usd) as unknown
      from public.llm_ledger where reservation_id = r.id
    ) l on true
    where r.job_id = ${jobId}
    group by 1 order by 1`;
}
