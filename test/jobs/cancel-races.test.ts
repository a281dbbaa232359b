/** The answer to a request to cancel is correct, also while the job begins or ends. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Queryable, Sql } from '../../src/db/connect.ts';
import type { Database } from '../../src/db/database.ts';
import { beginAttempts, newToken } from '../../src/jobs/attempts.ts';
import { listEndRequests, requestCancel } from '../../src/jobs/cancel.ts';
import type { CancelAnswer } from '../../src/jobs/cancel.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import {
  addJob,
  addJobType,
  begin,
  claim,
  eventually,
  finish,
  historyOf,
  jobRow,
  runningJob,
} from './job-steps.ts';

let test: TestDatabase;
let database: Database;
let sql: Sql;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ systemConnections: 8 });
  sql = database.system;
  await addJobType(sql);
});
beforeEach(async () => {
  tenantId = await addTenant(sql);
});
afterAll(() => test.close());

const request = { by: 'alice', reason: 'wrong file' };
const cancel = (jobId: string) => requestCancel(sql, { jobId, ...request });

/** A claimed job that no worker has begun. */
async function queuedJob() {
  const jobId = await addJob(sql, tenantId);
  const job = (await claim(sql)).find((candidate) => candidate.jobId === jobId);
  if (job === undefined) throw new Error('not claimed');
  return job;
}

describe('at the same moment', () => {
  /** Cancels while `step` has changed the job and not committed; `step` commits when the cancel waits for it. */
  async function cancelDuring(
    jobId: string,
    step: (tx: Queryable) => Promise<unknown>,
    rollback = false,
  ): Promise<CancelAnswer> {
    let answer: Promise<CancelAnswer> | undefined;
    await sql
      .begin(async (tx) => {
        await step(tx);
        answer = cancel(jobId);
        answer.catch(() => {});
        await eventually('the cancel to wait for a lock', async () => {
          const waiting = await test.sql`
            select from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'`;
          return waiting.length > 0 ? true : undefined;
        });
        if (rollback) throw new Error('rolled back');
      })
      .catch((error: Error) => {
        if (error.message !== 'rolled back') throw error;
      });
    if (answer === undefined) throw new Error('no cancel was asked for');
    return answer;
  }

  it('a job that begins is asked to stop, and its worker finds the request', async () => {
    const job = await queuedJob();
    const token = newToken(job.jobId);
    const answer = await cancelDuring(job.jobId, (tx) =>
      beginAttempts(tx, [{ ...job, token }], 'worker-1', 30_000),
    );
    expect(answer).toEqual({ outcome: 'requested', state: 'running' });
    expect(await listEndRequests(sql, [token])).toEqual(
      new Map([[token, { wish: 'cancel', ...request }]]),
    );
  });

  it('a begin that is rolled back leaves a job that is cancelled', async () => {
    const job = await queuedJob();
    const request = { ...job, token: newToken(job.jobId) };
    const answer = await cancelDuring(
      job.jobId,
      (tx) => beginAttempts(tx, [request], 'worker-1', 30_000),
      true,
    );
    expect(answer.outcome).toBe('cancelled');
    expect(await beginAttempts(sql, [request], 'worker-1', 30_000)).toEqual([]);
  });

  it('a job that completes is answered as ended, with its state', async () => {
    const attempt = await runningJob(sql, tenantId);
    const answer = await cancelDuring(attempt.jobId, (tx) => finish(tx, attempt));
    expect(answer).toEqual({ outcome: 'ended', state: 'completed' });
    expect(await jobRow(sql, attempt.jobId)).toMatchObject({ state: 'completed' });
  });

  it('a job that fails is cancelled instead of being tried again', async () => {
    const attempt = await runningJob(sql, tenantId);
    const error = { code: 'boom', message: 'boom' };
    const answer = await cancelDuring(attempt.jobId, (tx) =>
      finish(tx, attempt, { toState: 'failed', error, afterMs: 0 }),
    );
    expect(answer.outcome).toBe('cancelled');
    expect(await historyOf(sql, attempt.jobId)).toEqual([
      '>pending',
      'pending>queued',
      'queued>running',
      'running>failed',
      'failed>cancelled',
    ]);
  });

  it('a job that is returned and begins again gets the request under its new token', async () => {
    const attempt = await runningJob(sql, tenantId);
    const [token, entryId] = [newToken(attempt.jobId), randomUUID()];
    const answer = await cancelDuring(attempt.jobId, async (tx) => {
      await finish(tx, attempt, { toState: 'pending', countsAttempt: false });
      await tx`update background_jobs set state = 'queued', entry_id = ${entryId} where id = ${attempt.jobId}`;
      await beginAttempts(tx, [{ jobId: attempt.jobId, entryId, token }], 'worker-2', 30_000);
    });
    expect(answer).toEqual({ outcome: 'requested', state: 'running' });
    expect(await listEndRequests(sql, [attempt.token, token])).toEqual(
      new Map([[token, { wish: 'cancel', ...request }]]),
    );
  });

  it('60 jobs that are begun, ended and cancelled at once each end in the state of the answer', async () => {
    const jobs = [];
    for (let n = 0; n < 60; n += 1) jobs.push(await addJob(sql, tenantId));
    const queued = await claim(sql);
    expect(queued).toHaveLength(60);
    const answers = await Promise.all(
      queued.map(async (job, n) => {
        const run = async () => {
          const attempt = await begin(sql, job).catch(() => undefined);
          if (attempt === undefined) return;
          if (n % 3 === 0) await finish(sql, attempt);
          else await finish(sql, attempt, { toState: 'pending', countsAttempt: false });
        };
        const [answer] = await Promise.all([cancel(job.jobId), run()]);
        return [job.jobId, answer] as const;
      }),
    );
    for (const [jobId, { outcome, state }] of answers) {
      const { state: now } = await jobRow(sql, jobId);
      const history = await historyOf(sql, jobId);
      const ends = history.filter((move) => /(completed|cancelled)$/.test(move));
      expect(ends.length).toBeLessThanOrEqual(1);
      // What was asked to stop had begun; what ended, before or by this, is still what was answered.
      const asAnswered =
        outcome === 'requested' ? history.includes('queued>running') : now === state;
      expect({ jobId, outcome, state, now, asAnswered }).toMatchObject({ asAnswered: true });
    }
  });
});
