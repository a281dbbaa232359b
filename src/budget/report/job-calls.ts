/** The LLM calls of a job, each with its hold and what it cost. Reads only. */
import type { Queryable } from '../../db/connect.ts';

export interface JobCall {
  readonly reservationId: string;
  /** null: not of an attempt. */
  readonly attempt: number | null;
  readonly provider: string;
  readonly model: string;
  /** APPLIED: settled. RELEASED: it was not sent, or cost nothing. UNKNOWN: charged at the hold until it is resolved. */
  readonly status: 'RESERVED' | 'APPLIED' | 'RELEASED' | 'UNKNOWN';
  readonly heldAt: Date;
  readonly sentAt: Date | null;
  readonly closedAt: Date | null;
  /** Exact decimal USD. */
  readonly heldUsd: string;
  /** As the ledger has it; of an unknown call what it is charged. */
  readonly spentUsd: string;
  readonly unknownUsd: string;
  readonly inputTokens: string | null;
  readonly outputTokens: string | null;
}

/** Oldest first, the newest `limit`. */
export async function callsOfJob(sql: Queryable, jobId: string, limit: number): Promise<JobCall[]> {
  return sql<JobCall[]>`
    select c.* from (
      select r.id as "reservationId", r.attempt, r.provider, r.model, r.status, r.created_at as "heldAt",
        r.sent_at as "sentAt", r.closed_at as "closedAt", trim_scale(r.estimated_cost_usd)::text as "heldUsd",
        trim_scale(coalesce(l.spent, 0))::text as "spentUsd", trim_scale(coalesce(l.unknown, 0))::text as "unknownUsd",
        u.input_tokens::text as "inputTokens", u.output_tokens::text as "outputTokens"
      from public.llm_reservations r
      left join public.llm_usage u on u.reservation_id = r.id
      left join lateral (
        select sum(spent_delta_usd) as spent, sum(unknown_delta_usd) as unknown
        from public.llm_ledger where reservation_id = r.id) l on true
      where r.job_id = ${jobId}
      order by r.created_at desc, r.id desc limit ${limit}) c
    order by c."heldAt", c."reservationId"`;
}
