/** Jobs taken through their steps by the functions the roles use, for tests that need no worker. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Queryable, Sql } from '../../src/db/connect.ts';
import { beginAttempts, finishAttempts, newToken } from '../../src/jobs/attempts.ts';
import type {
  AttemptEnd,
  BegunAttempt,
  BeginRequest,
  FinishResult,
} from '../../src/jobs/attempts.ts';
import { claimWaitingJobs } from '../../src/jobs/dispatch.ts';
import type { DispatchedJob } from '../../src/jobs/dispatch.ts';
import { enqueue } from '../../src/jobs/enqueue.ts';
import type { EnqueueRequest } from '../../src/jobs/request.ts';
import { registerJobTypes } from '../../src/jobs/registration.ts';
import type { JobType } from '../../src/jobs/registration.ts';
import type { JobState } from '../../src/jobs/states.ts';

export const step = 'test_step';

export async function addJobType(
  sql: Queryable,
  type = step,
  overrides: Partial<JobType> = {},
): Promise<void> {
  await registerJobTypes(sql, [
    {
      type,
      timeoutMs: 30_000,
      maxAttempts: 3,
      onBudget: 'park',
      giveUpAfterMs: 86_400_000,
      payloadSchema: {},
      ...overrides,
    },
  ]);
}

/** Enqueues one job of type `step` and returns its id. */
export async function addJob(
  sql: Queryable,
  tenantId: string,
  request: Partial<EnqueueRequest> = {},
): Promise<string> {
  return (await enqueue(sql, { tenantId, jobType: step, ...request })).jobId;
}

/** Claims the jobs that are due now, at most `capacity` of one type. */
export function claim(sql: Sql, capacity = 1_000, jobType = step): Promise<DispatchedJob[]> {
  return claimWaitingJobs(sql, [{ jobType, capacity }]);
}

/** A queued job's attempt begins, leased for `leaseMs`. */
export async function begin(
  sql: Queryable,
  job: Pick<DispatchedJob, 'jobId' | 'entryId'>,
  leaseMs = 30_000,
): Promise<BegunAttempt> {
  const [attempt] = await beginAttempts(
    sql,
    [{ jobId: job.jobId, entryId: job.entryId, token: newToken(job.jobId) }],
    'worker-1',
    leaseMs,
  );
  if (attempt === undefined) throw new Error(`job ${job.jobId} did not begin`);
  return attempt;
}

/** Claims what waits now, this job among it, and returns its entry. */
export async function claimJob(sql: Sql, jobId: string): Promise<DispatchedJob> {
  const job = (await claim(sql)).find((candidate) => candidate.jobId === jobId);
  if (job === undefined) throw new Error(`job ${jobId} was not claimed`);
  return job;
}

/** Enqueues and claims one job of this tenant: what a worker is about to begin, under a token of its own. */
export async function queuedRequest(sql: Sql, tenantId: string): Promise<BeginRequest> {
  const { jobId, entryId } = await claimJob(sql, await addJob(sql, tenantId));
  return { jobId, entryId, token: newToken(jobId) };
}

/** Enqueues, claims and begins one job of this tenant. */
export async function runningJob(
  sql: Sql,
  tenantId: string,
  request: Partial<EnqueueRequest> = {},
  leaseMs = 30_000,
): Promise<BegunAttempt> {
  return begin(sql, await claimJob(sql, await addJob(sql, tenantId, request)), leaseMs);
}

export const completed: AttemptEnd = {
  toState: 'completed',
  result: { ok: true },
  countsAttempt: true,
  detail: {},
};

export async function finish(
  sql: Queryable,
  attempt: Pick<BegunAttempt, 'jobId' | 'token'>,
  end: Partial<AttemptEnd> = {},
): Promise<FinishResult | undefined> {
  const { jobId, token } = attempt;
  const answers = await finishAttempts(sql, [{ jobId, token, end: { ...completed, ...end } }]);
  return answers.get(jobId);
}

export interface JobRow {
  readonly state: JobState;
  readonly attempt: number;
  readonly losses: number;
  readonly losses_alone: number;
  readonly suspect: boolean;
  readonly result: unknown;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly state_detail: Record<string, unknown>;
  readonly scheduled_for: Date;
  readonly give_up_at: Date;
  readonly finished_at: Date | null;
  readonly payload: unknown;
}

export async function jobRow(sql: Queryable, jobId: string): Promise<JobRow> {
  const [row] = await sql<JobRow[]>`
    select state, attempt, losses, losses_alone, suspect, result, error, state_detail, scheduled_for, give_up_at,
           finished_at, payload
    from background_jobs where id = ${jobId}`;
  if (row === undefined) throw new Error(`there is no job ${jobId}`);
  return row;
}

/** `from>to` of every recorded transition, oldest first. */
export async function historyOf(sql: Queryable, jobId: string): Promise<string[]> {
  const rows = await sql<{ move: string }[]>`
    select coalesce(from_state, '') || '>' || to_state as move from job_events
    where job_id = ${jobId} order by id`;
  return rows.map(({ move }) => move);
}

/** Looks again and again until `look` gives something; fails naming `what` and the last sight. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | undefined>,
  withinMs = 60_000,
): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`waited ${withinMs} ms in vain for ${what}`);
    await sleep(20);
  }
}

/** Waits until the job is in one of `states`. */
export function untilState(sql: Queryable, jobId: string, ...states: JobState[]): Promise<JobRow> {
  return eventually(`job ${jobId} to be ${states.join(' or ')}`, async () => {
    const row = await jobRow(sql, jobId);
    return states.includes(row.state) ? row : undefined;
  });
}

/** Thousands of waiting jobs of one tenant, older than anything enqueued later. */
export async function flood(
  sql: Sql,
  tenantId: string,
  count: number,
  { priority = 0, jobType = step }: { priority?: number; jobType?: string } = {},
): Promise<void> {
  await sql`
    insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at, priority)
    select ${tenantId}, ${jobType}, 3, now() + interval '1 day', ${priority}
    from generate_series(1, ${count}::int)`;
}
