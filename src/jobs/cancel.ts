/**
 * Cancelling a job: a waiting job ends at once; for a running one the request is stored in its lease, where its worker
 * reads it. The answer is correct even if the job begins or ends at the same moment.
 */
import type { Queryable } from '../db/connect.ts';
import { PurserError } from '../errors.ts';
import type { JobState } from './states.ts';

export interface CancelRequest {
  readonly by: string;
  readonly reason: string;
}

/** cancelled: the job was waiting. requested: it runs, and its worker will stop it. ended: it had ended, in `state`. */
export interface CancelAnswer {
  readonly outcome: 'cancelled' | 'requested' | 'ended';
  readonly state: JobState;
}

/** A try is undecided when the job began or ended after the statement's snapshot. */
const maxTries = 100;

/** Cancels a job or asks its worker to; an earlier request stays as it is. Throws `unknown_job`. */
export async function requestCancel(
  sql: Queryable,
  request: CancelRequest & { readonly jobId: string },
): Promise<CancelAnswer> {
  for (let tries = 0; tries < maxTries; tries += 1) {
    const answer = await cancelOrAsk(sql, request);
    if (answer !== undefined) return answer;
  }
  throw new PurserError(
    'cancel_undecided',
    `job ${request.jobId} changed ${maxTries} times while it was to be cancelled; try again`,
  );
}

interface Observation {
  readonly state: JobState;
  readonly ended: boolean;
  readonly cancelled: boolean;
  readonly asked: boolean;
}

/**
 * One statement. It waits for a begin or a finish that has locked the row; what that transaction commits is not in this
 * statement's snapshot, so nothing is changed and the answer is undefined.
 */
async function cancelOrAsk(
  sql: Queryable,
  { jobId, by, reason }: CancelRequest & { readonly jobId: string },
): Promise<CancelAnswer | undefined> {
  const [seen] = await sql<Observation[]>`
    with cancelled as (
      update public.background_jobs
      set state = 'cancelled', finished_at = clock_timestamp(),
          state_detail = jsonb_build_object('by', ${by}::text, 'reason', ${reason}::text)
      where id = ${jobId} and state in ('pending', 'queued', 'failed', 'parked')
      returning id
    ), lease as (
      select l.job_id, l.token, l.cancel_requested
      from purser.job_leases l join public.background_jobs j on j.id = l.job_id and j.attempt_token = l.token
      where l.job_id = ${jobId} and j.state = 'running'
    ), asked as (
      update purser.job_leases l
      set cancel_requested = jsonb_build_object('by', ${by}::text, 'reason', ${reason}::text, 'at', now())
      from lease where l.job_id = lease.job_id and l.token = lease.token and l.cancel_requested is null
      returning l.token
    )
    select j.state, j.finished_at is not null as ended, exists (select from cancelled) as cancelled,
           exists (select from asked)
             or exists (select from lease where cancel_requested is not null) as asked
    from public.background_jobs j where j.id = ${jobId}`;
  if (seen === undefined) throw new PurserError('unknown_job', `there is no job ${jobId}`);
  if (seen.cancelled) return { outcome: 'cancelled', state: 'cancelled' };
  if (seen.asked) return { outcome: 'requested', state: 'running' };
  return seen.ended ? { outcome: 'ended', state: seen.state } : undefined;
}

/** Requests to cancel the attempts with these tokens, by token. */
export async function listCancelRequests(
  sql: Queryable,
  tokens: readonly string[],
): Promise<Map<string, CancelRequest>> {
  const rows = await sql<(CancelRequest & { token: string })[]>`
    select token, cancel_requested->>'by' as by, cancel_requested->>'reason' as reason
    from purser.job_leases
    where cancel_requested is not null and token = any(${tokens}::uuid[])`;
  return new Map(rows.map(({ token, by, reason }) => [token, { by, reason }]));
}
