/**
 * Leases of running attempts: a worker renews them, and a lease that was not renewed in time is taken over by the
 * sweep. They stand in a table of their own, so that a renewal does not wait for a handler's commit.
 */
import type { Queryable } from '../db/connect.ts';

/**
 * Extends the leases that `workerId` holds under these tokens; a lease under another token belongs to a later attempt
 * and is missing from the answer. `busy`: another transaction has locked the lease to end its attempt.
 */
export async function renewLeases(
  sql: Queryable,
  workerId: string,
  tokens: readonly string[],
  leaseMs: number,
): Promise<Map<string, 'renewed' | 'busy'>> {
  const kept = await sql<{ token: string; state: 'renewed' | 'busy' }[]>`
    with unlocked as (
      select job_id, token from purser.job_leases
      where worker_id = ${workerId} and token = any(${tokens}::uuid[])
      order by job_id for no key update skip locked
    ), renewed as (
      update purser.job_leases l set expires_at = now() + ${leaseMs} * interval '1 millisecond'
      from unlocked u where l.job_id = u.job_id and l.token = u.token
      returning l.token
    )
    select l.token, case when r.token is null then 'busy' else 'renewed' end as state
    from purser.job_leases l left join renewed r on r.token = l.token
    where l.worker_id = ${workerId} and l.token = any(${tokens}::uuid[])`;
  return new Map(kept.map(({ token, state }) => [token, state]));
}

export interface ProgressReport {
  readonly token: string;
  /** 0 to 1. */
  readonly done: number;
  readonly note: string | null;
}

/** Stores the last progress report of each running attempt in its lease. Attempts that are being ended are skipped. */
export async function storeProgress(
  sql: Queryable,
  reports: readonly ProgressReport[],
): Promise<number> {
  const stored = await sql`
    update purser.job_leases l
    set progress = jsonb_build_object('done', r.done, 'note', r.note, 'at', now())
    from (
      select l.job_id, r.* from purser.job_leases l
      join jsonb_to_recordset(${JSON.stringify(reports)}::text::jsonb) as r (token uuid, done float8, note text)
        on l.token = r.token
      order by l.job_id for no key update of l skip locked
    ) r
    where l.job_id = r.job_id and l.token = r.token`;
  return stored.count;
}
