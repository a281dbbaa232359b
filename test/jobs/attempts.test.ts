import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { beginAttempts, finishAttempts, newToken } from '../../src/jobs/attempts.ts';
import { renewLeases } from '../../src/jobs/leases.ts';
import type { AttemptEnd, BeginRequest } from '../../src/jobs/attempts.ts';
import { rescueLostAttempts } from '../../src/jobs/sweep.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { untilWaiting } from '../support/holds.ts';
import { addTenant } from '../support/tenants.ts';
import {
  addJob,
  addJobType,
  begin,
  claim,
  completed,
  finish,
  historyOf,
  jobRow,
  runningJob,
} from './job-steps.ts';

let test: TestDatabase;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
  tenantId = await addTenant(test.sql);
});
afterAll(() => test.close());

const tokenOf = async (jobId: string) =>
  (
    await test.sql`select token, attempt from purser.in_flight where job_id = ${jobId} and token is not null`
  ).map(({ token, attempt }) => ({ token: String(token), attempt: Number(attempt) }));

async function queuedJob() {
  const jobId = await addJob(test.sql, tenantId);
  const job = (await claim(test.sql)).find((candidate) => candidate.jobId === jobId);
  if (job === undefined) throw new Error('not claimed');
  return job;
}

const asRequest = (job: { jobId: string; entryId: string }): BeginRequest => ({
  jobId: job.jobId,
  entryId: job.entryId,
  token: newToken(job.jobId),
});

describe('begin', () => {
  it('opens exactly one token and one lease, and counts the attempt', async () => {
    const attempt = await begin(test.sql, await queuedJob());
    expect(attempt.attempt).toBe(1);
    expect(await tokenOf(attempt.jobId)).toEqual([{ token: attempt.token, attempt: 1 }]);
    const [lease] = await test.sql`
      select token, worker_id, expires_at > now() as live from purser.in_flight
      where job_id = ${attempt.jobId}`;
    expect(lease).toEqual({ token: attempt.token, worker_id: 'worker-1', live: true });
  });

  it('of one entry by ten workers at once succeeds for one', async () => {
    const job = await queuedJob();
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => beginAttempts(test.sql, [asRequest(job)], 'w', 30_000)),
    );
    expect(answers.flat()).toHaveLength(1);
    expect(await tokenOf(job.jobId)).toEqual([{ token: answers.flat()[0]?.token, attempt: 1 }]);
    expect((await jobRow(test.sql, job.jobId)).attempt).toBe(1);
  });

  it('of an older dispatch begins nothing after a re-dispatch', async () => {
    const old = await queuedJob();
    await finish(test.sql, await begin(test.sql, old), {
      toState: 'failed',
      afterMs: 0,
    });
    const [again] = await claim(test.sql);
    expect(again).toMatchObject({ jobId: old.jobId });
    expect(await beginAttempts(test.sql, [asRequest(old)], 'w', 30_000)).toEqual([]);
    expect(await tokenOf(old.jobId)).toEqual([]);
  });

  it('answers for each of a batch, in whatever order it is asked', async () => {
    const jobs = [await queuedJob(), await queuedJob(), await queuedJob()];
    const stale = { jobId: jobs[1]?.jobId ?? '', entryId: randomUUID() };
    const begun = await beginAttempts(
      test.sql,
      [jobs[2], stale, jobs[0]].flatMap((job) => (job === undefined ? [] : [asRequest(job)])),
      'w',
      30_000,
    );
    expect(new Set(begun.map(({ jobId }) => jobId))).toEqual(
      new Set([jobs[0]?.jobId, jobs[2]?.jobId]),
    );
  });
});

describe('finish', () => {
  it('is applied once, then repeated; token and lease are gone', async () => {
    const attempt = await runningJob(test.sql, tenantId);
    expect(await finish(test.sql, attempt)).toBe('applied');
    const row = await jobRow(test.sql, attempt.jobId);
    expect(row).toMatchObject({ state: 'completed', result: { ok: true }, attempt: 1 });
    expect(await finish(test.sql, attempt, { toState: 'cancelled' })).toBe('repeated');
    expect(await jobRow(test.sql, attempt.jobId)).toEqual(row);
    expect(await tokenOf(attempt.jobId)).toEqual([]);
    expect(await test.sql`select from purser.in_flight where job_id = ${attempt.jobId}`).toEqual(
      [],
    );
  });

  it('under a forged token is stale and changes nothing', async () => {
    const attempt = await runningJob(test.sql, tenantId);
    const forged = { jobId: attempt.jobId, token: newToken(attempt.jobId) };
    expect(await finish(test.sql, forged)).toBe('stale');
    expect((await jobRow(test.sql, attempt.jobId)).state).toBe('running');
    expect(await finish(test.sql, attempt)).toBe('applied');
  });

  it("with another running job's token is stale for both", async () => {
    const [one, other] = [
      await runningJob(test.sql, tenantId),
      await runningJob(test.sql, tenantId),
    ];
    expect(await finish(test.sql, { jobId: one.jobId, token: other.token })).toBe('stale');
    expect(await finish(test.sql, one)).toBe('applied');
    expect(await finish(test.sql, other)).toBe('applied');
  });

  it('of an attempt that was rescued is stale, not repeated', async () => {
    const attempt = await runningJob(test.sql, tenantId, {}, -1);
    await rescueLostAttempts(test.sql);
    expect((await jobRow(test.sql, attempt.jobId)).state).toBe('pending');
    expect(await finish(test.sql, attempt)).toBe('stale');
    expect((await jobRow(test.sql, attempt.jobId)).state).toBe('pending');
  });

  it('that hands back takes the attempt off the count again', async () => {
    const attempt = await runningJob(test.sql, tenantId);
    await finish(test.sql, attempt, { toState: 'pending', countsAttempt: false });
    expect(await jobRow(test.sql, attempt.jobId)).toMatchObject({ state: 'pending', attempt: 0 });
    expect(await historyOf(test.sql, attempt.jobId)).toEqual([
      '>pending',
      'pending>queued',
      'queued>running',
      'running>pending',
    ]);
  });

  it('answers for each of a batch by itself', async () => {
    const attempts = [
      await runningJob(test.sql, tenantId),
      await runningJob(test.sql, tenantId),
      await runningJob(test.sql, tenantId),
    ];
    const [first, second, third] = attempts.map(({ jobId, token }) => ({ jobId, token }));
    if (first === undefined || second === undefined || third === undefined) throw new Error();
    await finish(test.sql, second);
    const answers = await finishAttempts(
      test.sql,
      [third, { ...first, token: newToken(first.jobId) }, second].map((request) => ({
        ...request,
        end: completed,
      })),
    );
    expect(Object.fromEntries(answers)).toEqual({
      [first.jobId]: 'stale',
      [second.jobId]: 'repeated',
      [third.jobId]: 'applied',
    });
  });

  it('keeps the last error of a job that failed and then succeeded', async () => {
    const attempt = await runningJob(test.sql, tenantId);
    const failed: Partial<AttemptEnd> = {
      toState: 'failed',
      afterMs: 0,
      error: { code: 'flaky', message: 'try again' },
    };
    await finish(test.sql, attempt, failed);
    const job = (await claim(test.sql)).find(({ jobId }) => jobId === attempt.jobId);
    if (job === undefined) throw new Error('not claimed');
    await finish(test.sql, await begin(test.sql, job));
    expect(await jobRow(test.sql, attempt.jobId)).toMatchObject({
      state: 'completed',
      attempt: 2,
      error: { code: 'flaky' },
    });
  });

  it('and a rescue of the same attempt never wait for each other in a circle', async () => {
    const attempt = await runningJob(test.sql, tenantId, {}, -1);
    const gate = await test.open();
    // Whoever holds the job's row: finish has then locked all that it locks before.
    const outcomes = await gate.system.begin(async (tx) => {
      await tx`select from purser.in_flight where job_id = ${attempt.jobId} for update`;
      const finished = finish(test.sql, attempt);
      await untilWaiting(gate.system, 1);
      const rescued = rescueLostAttempts(test.sql);
      return { settled: Promise.allSettled([finished, rescued]), rescued: await rescued };
    });
    expect(outcomes.rescued).toEqual({ requeued: 0, cancelled: 0 });
    expect((await outcomes.settled).map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
    ]);
    expect((await jobRow(test.sql, attempt.jobId)).state).toBe('completed');
  });
});

describe('renewing leases', () => {
  it('keeps what is held and names nothing that was taken over', async () => {
    const [kept, taken] = [
      await runningJob(test.sql, tenantId),
      await runningJob(test.sql, tenantId, {}, -1),
    ];
    await rescueLostAttempts(test.sql);
    const tokens = [kept.token, taken.token];
    expect(await renewLeases(test.sql, 'worker-1', tokens, 60_000)).toEqual(
      new Map([[kept.token, 'renewed']]),
    );
    expect(await renewLeases(test.sql, 'worker-2', tokens, 60_000)).toEqual(new Map());
  });
});
