/** Buffers that the statements of a job's life touch per row. */
import type { Sql } from '../../src/db/connect.ts';
import type { AttemptEnd } from '../../src/jobs/attempts.ts';
import {
  beginAttempts,
  finishAttempts,
  finishUnlockedAttempts,
  newToken,
} from '../../src/jobs/attempts.ts';
import { requestCancel } from '../../src/jobs/cancel.ts';
import { claimWaitingJobs, lookForWork } from '../../src/jobs/dispatch.ts';
import { enqueue, enqueueMany } from '../../src/jobs/enqueue.ts';
import { returnToPending } from '../../src/jobs/queued.ts';
import { expireWaitingJobs, rescueLostAttempts, wakeParkedJobs } from '../../src/jobs/sweep.ts';
import { claimDueTenants } from '../../src/schedules/claim.ts';
import type { ClaimResult } from '../../src/schedules/claim.ts';
import { completed, step } from '../jobs/job-steps.ts';
import { hits } from './buffers.ts';

/** Rows that each measured statement works on. */
const rows = 10;

/** Buffers per row of each hot statement, run once each over `rows` rows. */
export async function buffersPerRow(sql: Sql): Promise<Record<string, number>> {
  await sql`update tenant_schedules set next_due = now() - interval '1 hour', last_bucket = null
    where tenant_id like 'tenant-%'`;
  await sql`delete from purser.ticks`;
  await sql`
    insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at)
    select 'tenant-' || 1 + n % 10, ${step}, 3, now() + interval '1 day' from generate_series(1, ${rows}) n`;
  const measured: Record<string, number> = {};
  const measure: MeasureCall = async (name, count, run) => {
    const before = await hits(sql);
    const answer = await run();
    const touched = (await hits(sql)) - before;
    if (count(answer) === 0) throw new Error(`${name} found no row`);
    measured[name] = touched / count(answer);
    return answer;
  };
  await measure(
    'claim',
    ({ claimed }: ClaimResult) => claimed,
    () => claimDueTenants(sql),
  );
  await sql`delete from background_jobs where job_type <> ${step}`;
  await measure(
    'types with work',
    ({ jobTypes }) => jobTypes.length,
    () => lookForWork(sql, 20),
  );
  const jobs = await measure(
    'dispatch',
    (claimed) => claimed.length,
    () => claimWaitingJobs(sql, [{ jobType: step, capacity: rows }]),
  );
  const requests = jobs.map(({ jobId, entryId }) => ({
    jobId,
    entryId,
    token: newToken(jobId),
  }));
  await measure(
    'begin',
    (begun) => begun.length,
    () => beginAttempts(sql, requests, 'worker-1', 30_000),
  );
  const half = Math.floor(requests.length / 2);
  const ends = requests.map(({ jobId, token }, index) => {
    const end: AttemptEnd = index < half ? completed : { ...completed, toState: 'cancelled' };
    return { jobId, token, end };
  });
  const finish = (name: string, some: typeof ends) =>
    measure(
      name,
      (ended) => ended.size,
      () => finishAttempts(sql, some),
    );
  await finish('finish', ends.slice(0, half));
  await finish('finish, not completed', ends.slice(half));
  await finish('finish again', ends.slice(0, half));
  await finish('finish again, not completed', ends.slice(half));
  const someRequests = Array.from({ length: rows }, (_, n) => ({
    tenantId: `tenant-${n + 1}`,
    jobType: step,
  }));
  const cancelled = await enqueueMany(sql, someRequests);
  await measure(
    'cancel',
    (answers) => answers.length,
    () =>
      Promise.all(
        cancelled.map(({ jobId }) => requestCancel(sql, { jobId, by: 'test', reason: 'test' })),
      ),
  );
  const late = await enqueueMany(sql, someRequests);
  await sql`update purser.waiting set give_up_at = now() - interval '1 hour'
    where job_id = any(${late.map(({ jobId }) => jobId)}::bigint[])`;
  await measure(
    'expiry',
    (expired) => expired,
    () => expireWaitingJobs(sql),
  );
  await measureMoves(sql, measure);
  return measured;
}

type MeasureCall = <T>(
  name: string,
  count: (answer: T) => number,
  run: () => Promise<T>,
) => Promise<T>;

/** What moves jobs between the tables of their states, beside dispatch, begin and end. */
async function measureMoves(sql: Sql, measure: MeasureCall): Promise<void> {
  const keyed = Array.from({ length: rows }, (_, n) => ({
    tenantId: `tenant-${n + 1}`,
    jobType: step,
    dedupKey: 'moved',
    onDuplicate: 'replace' as const,
  }));
  await sql`delete from job_keys where dedup_key = 'moved'`;
  await measure(
    'enqueue',
    (answers) => answers.length,
    () => Promise.all(keyed.map((request) => enqueue(sql, request))),
  );
  await measure(
    'replace',
    (answers) => answers.filter(({ replaced }) => replaced).length,
    () => Promise.all(keyed.map((request) => enqueue(sql, request))),
  );
  const dispatch = () => claimWaitingJobs(sql, [{ jobType: step, capacity: rows }]);
  const begin = async (leaseMs: number) => {
    const jobs = await dispatch();
    const requests = jobs.map(({ jobId, entryId }) => ({ jobId, entryId, token: newToken(jobId) }));
    await beginAttempts(sql, requests, 'worker-1', leaseMs);
    return requests;
  };
  const returned = await dispatch();
  await measure(
    'return',
    (count) => count,
    () => returnToPending(sql, returned, 'worker full'),
  );
  await begin(-1);
  await measure(
    'rescue',
    ({ requeued }) => requeued,
    () => rescueLostAttempts(sql),
  );
  const parked = await begin(30_000);
  const end: AttemptEnd = {
    toState: 'parked',
    countsAttempt: false,
    neededUsd: '1',
    until: new Date(0),
    detail: {},
  };
  await measure(
    'end, not of the locked',
    (ended) => ended.size,
    () =>
      finishUnlockedAttempts(
        sql,
        parked.map(({ jobId, token }) => ({ jobId, token, end })),
      ),
  );
  await measure(
    'waking',
    (woken) => woken,
    () => wakeParkedJobs(sql),
  );
  await sql`
    with gone as (delete from purser.waiting where job_type = ${step} returning *)
    insert into purser.later select * from gone`;
  await sql`update purser.later set scheduled_for = now()`;
  await measure(
    'promotion',
    () => rows,
    () => sql`select purser.promote_due(100)`,
  );
  await sql`delete from jobs where id in (select job_id from purser.waiting where job_type = ${step})`;
}

/** Each touches 90 at most, dead rows of the last run among them; a scan of 10,000 jobs would add 140. */
const mostPerRow = 120;

export const boundText = `each statement touches at most ${mostPerRow} blocks per row`;

export function isBounded(measured: Record<string, number>): boolean {
  const names = Object.keys(measured);
  return names.length === 17 && names.every((name) => (measured[name] ?? Infinity) <= mostPerRow);
}

/** A driver and a server keep a plan only after some runs. */
export async function runOften(sql: Sql): Promise<void> {
  for (let run = 0; run < 7; run += 1) await buffersPerRow(sql);
}
