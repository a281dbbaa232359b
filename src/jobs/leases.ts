/**
 * Leases of running attempts: a worker renews them, and a lease that was not renewed in time is taken over by the
 * sweep. A renewal does not wait for a handler's commit, which locks the attempt's key only.
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
    with held as materialized (
      select purser.job_of_token(t.token) as job_id, t.token from unnest(${tokens}::uuid[]) t (token)
    ), unlocked as (
      select f.job_id, f.token from held h join purser.in_flight f on f.job_id = h.job_id and f.token = h.token
      where f.worker_id = ${workerId}
      order by f.job_id for no key update of f skip locked
    ), renewed as (
      update purser.in_flight f set expires_at = now() + ${leaseMs} * interval '1 millisecond'
      from unlocked u where f.job_id = u.job_id and f.token = u.token
      returning f.token
    )
    select f.token, case when r.token is null then 'busy' else 'renewed' end as state
    from held h join purser.in_flight f on f.job_id = h.job_id and f.token = h.token
    left join renewed r on r.token = f.token
    where f.worker_id = ${workerId}`;
  return new Map(kept.map(({ token, state }) => [token, state]));
}

export interface ProgressReport {
  readonly token: string;
  /** 0 to 1. */
  readonly done: number;
  readonly note: string | null;
}

/** Stores the last progress report of each running attempt. Attempts that are being ended are skipped. */
export async function storeProgress(
  sql: Queryable,
  reports: readonly ProgressReport[],
): Promise<number> {
  const stored = await sql`
    update purser.in_flight f
    set progress = jsonb_build_object('done', r.done, 'note', r.note, 'at', now())
    from (
      select s.job_id, r.* from purser.in_flight s
      join jsonb_to_recordset(${JSON.stringify(reports)}::text::jsonb) as r (token uuid, done float8, note text)
        on s.job_id = purser.job_of_token(r.token) and s.token = r.token
      order by s.job_id for no key update of s skip locked
    ) r
    where f.job_id = r.job_id and f.token = r.token`;
  return stored.count;
}
