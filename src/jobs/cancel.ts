/**
 * Cancelling a job: a waiting job ends at once; for a running one the request is stored with the attempt, where its
 * worker reads it. The answer is correct even if the job begins or ends at the same moment.
 */
import type { Queryable } from '../db/connect.ts';
import { PurserError } from '../errors.ts';
import type { JobState } from './states.ts';

export interface CancelRequest {
  readonly by: string;
  readonly reason: string;
}

/** Of a running attempt: to cancel its job, or to hand it back under a stop (see stop/stopped.ts). */
export interface EndRequest extends CancelRequest {
  readonly wish: 'cancel' | 'stop';
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
  /** Of a job that has ended. */
  readonly state: JobState;
  readonly ended: boolean;
  readonly cancelled: boolean;
  readonly asked: boolean;
}

/** undefined: the job moved at this moment, and nothing was changed. */
async function cancelOrAsk(
  sql: Queryable,
  { jobId, by, reason }: CancelRequest & { readonly jobId: string },
): Promise<CancelAnswer | undefined> {
  const [seen] = await sql<Observation[]>`
    select state, ended, cancelled, asked from purser.cancel_job(${jobId}, ${by}, ${reason})`;
  if (seen === undefined) {
    throw new PurserError('unknown_job', `there is no job ${jobId}`, { status: 404 });
  }
  if (seen.cancelled) return { outcome: 'cancelled', state: 'cancelled' };
  if (seen.asked) return { outcome: 'requested', state: 'running' };
  return seen.ended ? { outcome: 'ended', state: seen.state } : undefined;
}

/** What operators wish for the attempts with these tokens, by token. The wish to cancel one goes before a stop. */
export async function listEndRequests(
  sql: Queryable,
  tokens: readonly string[],
): Promise<Map<string, EndRequest>> {
  const rows = await sql<(EndRequest & { token: string })[]>`
    with stop as materialized (select scope, name, reason, by, at from public.pauses where stops)
    select f.token, case when f.cancel_requested is null then 'stop' else 'cancel' end as wish,
           coalesce(f.cancel_requested->>'by', s.by) as by,
           coalesce(f.cancel_requested->>'reason', s.reason) as reason
    from unnest(${tokens}::uuid[]) t (token)
    join purser.in_flight f on f.job_id = purser.job_of_token(t.token) and f.token = t.token
    left join lateral (
      select s.by, s.reason from stop s
      where s.scope = 'all' or s.scope = 'job_type' and s.name = f.job_type
        or s.scope = 'tenant' and s.name = f.tenant_id
      order by s.at limit 1) s on true
    where f.cancel_requested is not null or s.by is not null`;
  return new Map(rows.map(({ token, ...request }) => [token, request]));
}
