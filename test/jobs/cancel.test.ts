/** A request to cancel ends a waiting job, is stored for a running one, and does not change an ended one. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import type { Database } from '../../src/db/database.ts';
import { beginAttempts, newToken } from '../../src/jobs/attempts.ts';
import { listEndRequests, requestCancel } from '../../src/jobs/cancel.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { addJob, addJobType, claim, finish, historyOf, jobRow, runningJob } from './job-steps.ts';

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
const cancel = (jobId: string, how = request) => requestCancel(sql, { jobId, ...how });

/** A claimed job that no worker has begun. */
async function queuedJob() {
  const jobId = await addJob(sql, tenantId);
  const job = (await claim(sql)).find((candidate) => candidate.jobId === jobId);
  if (job === undefined) throw new Error('not claimed');
  return job;
}

async function failedJob() {
  const attempt = await runningJob(sql, tenantId);
  const error = { code: 'boom', message: 'boom' };
  await finish(sql, attempt, { toState: 'failed', error, afterMs: 0 });
  return attempt;
}

describe('a waiting job', () => {
  it.each([
    ['pending', async () => addJob(sql, tenantId)],
    ['queued', async () => (await queuedJob()).jobId],
    ['failed', async () => (await failedJob()).jobId],
    [
      'parked',
      async () => {
        const attempt = await runningJob(sql, tenantId);
        await finish(sql, attempt, {
          toState: 'parked',
          neededUsd: '1',
          until: new Date(Date.now() + 3_600_000),
          countsAttempt: false,
        });
        return attempt.jobId;
      },
    ],
  ] as const)('that is %s ends at once, with who and why on record', async (state, make) => {
    const jobId = await make();
    expect((await jobRow(sql, jobId)).state).toBe(state);
    expect(await cancel(jobId)).toEqual({ outcome: 'cancelled', state: 'cancelled' });
    expect(await jobRow(sql, jobId)).toMatchObject({ state: 'cancelled', state_detail: request });
    expect((await historyOf(sql, jobId)).at(-1)).toBe(`${state}>cancelled`);
    const [event] = await sql`
      select detail from job_events where job_id = ${jobId} order by id desc limit 1`;
    expect(event).toEqual({ detail: request });
  });

  it('does not begin, although its entry is in a queue', async () => {
    const job = await queuedJob();
    await cancel(job.jobId);
    const request = { jobId: job.jobId, entryId: job.entryId, token: newToken(job.jobId) };
    expect(await beginAttempts(sql, [request], 'worker-1', 1_000)).toEqual([]);
    expect(await claim(sql)).toEqual([]);
  });
});

describe('a running job', () => {
  it('stores the request in its lease, and only its own worker finds it', async () => {
    const attempt = await runningJob(sql, tenantId);
    const other = await runningJob(sql, tenantId);
    expect(await cancel(attempt.jobId)).toEqual({ outcome: 'requested', state: 'running' });
    expect(await jobRow(sql, attempt.jobId)).toMatchObject({ state: 'running', finished_at: null });
    const tokens = [attempt.token, other.token, randomUUID()];
    expect(await listEndRequests(sql, tokens)).toEqual(
      new Map([[attempt.token, { wish: 'cancel', ...request }]]),
    );
    expect(await listEndRequests(sql, [other.token])).toEqual(new Map());
    expect(await listEndRequests(sql, [])).toEqual(new Map());
  });

  it('keeps the first request when others follow', async () => {
    const attempt = await runningJob(sql, tenantId);
    for (const by of ['alice', 'bob', 'carol']) {
      const answer = await cancel(attempt.jobId, { by, reason: `says ${by}` });
      expect(answer.outcome).toBe('requested');
    }
    expect(await listEndRequests(sql, [attempt.token])).toEqual(
      new Map([[attempt.token, { wish: 'cancel', by: 'alice', reason: 'says alice' }]]),
    );
  });

  it('ends as cancelled when its worker finishes it so', async () => {
    const attempt = await runningJob(sql, tenantId);
    await cancel(attempt.jobId);
    await finish(sql, attempt, { toState: 'cancelled', detail: { ...request } });
    expect(await cancel(attempt.jobId)).toEqual({ outcome: 'ended', state: 'cancelled' });
  });
});

describe('an ended job', () => {
  it.each(['completed', 'dead_letter', 'cancelled'] as const)(
    'in state %s is not changed',
    async (toState) => {
      const attempt = await runningJob(sql, tenantId);
      const error = toState === 'dead_letter' ? { code: 'boom', message: 'boom' } : undefined;
      await finish(sql, attempt, { toState, ...(error === undefined ? {} : { error }) });
      const before = await jobRow(sql, attempt.jobId);
      expect(await cancel(attempt.jobId)).toEqual({ outcome: 'ended', state: toState });
      expect(await jobRow(sql, attempt.jobId)).toEqual(before);
    },
  );

  it('is distinguished from an unknown job', async () => {
    await expect(cancel('999999999')).rejects.toMatchObject({
      code: 'unknown_job',
      message: 'there is no job 999999999',
    });
  });
});
