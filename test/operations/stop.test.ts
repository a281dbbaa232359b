/** A stop hands back what is in flight, loses nothing, and is undone by one resume; a discard ends what waits. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Queryable, Sql } from '../../src/db/connect.ts';
import { beginAttempts, newToken } from '../../src/jobs/attempts.ts';
import type { BegunAttempt } from '../../src/jobs/attempts.ts';
import { listEndRequests, requestCancel } from '../../src/jobs/cancel.ts';
import { claimWaitingJobs } from '../../src/jobs/dispatch.ts';
import type { DispatchedJob } from '../../src/jobs/dispatch.ts';
import { addPause, listPauses, pauseWork, resumeWork } from '../../src/jobs/pauses.ts';
import type { PauseTarget } from '../../src/jobs/pauses.ts';
import { returnStopped } from '../../src/jobs/stop/stopped.ts';
import type { Operator } from '../../src/operations/audit.ts';
import { stopWork } from '../../src/operations/stop/stop.ts';
import {
  addJob,
  addJobType,
  begin,
  claim,
  claimJob,
  eventually,
  finish,
  flood,
  jobRow,
  runningJob,
  step,
} from '../jobs/job-steps.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';

const other = 'test_other';
let test: TestDatabase;
let sql: Sql;
let acme: string;
let bolt: string;

beforeAll(async () => {
  test = await freshDatabase();
  sql = (await test.open({ systemConnections: 8 })).system;
  await addJobType(sql);
  await addJobType(sql, other);
});
beforeEach(async () => {
  [acme, bolt] = [await addTenant(sql), await addTenant(sql)];
});
afterEach(async () => {
  await sql`delete from pauses`;
  await sql`delete from tenants`;
});
afterAll(() => test.close());

const everything: PauseTarget = { scope: 'all', name: '' };
const type = (name: string): PauseTarget => ({ scope: 'job_type', name });
const tenant = (name: string): PauseTarget => ({ scope: 'tenant', name });
const alice: Operator = { name: 'alice', proof: 'asserted', door: 'cli', host: 'desk' };
const stop = (target: PauseTarget, reason = 'incident') => stopWork(sql, alice, { target, reason });

const queued = async (tenantId: string, jobType = step): Promise<DispatchedJob> => {
  const jobId = await addJob(sql, tenantId, { jobType });
  const job = (await claim(sql, 1_000, jobType)).find((each) => each.jobId === jobId);
  if (job === undefined) throw new Error('not claimed');
  return job;
};
const beginOn = (tx: Queryable, { jobId, entryId }: DispatchedJob): Promise<BegunAttempt[]> =>
  beginAttempts(tx, [{ jobId, entryId, token: newToken(jobId) }], 'worker-1', 30_000);
const stateOf = async (jobId: string): Promise<string> => (await jobRow(sql, jobId)).state;
const handBack = { toState: 'pending', countsAttempt: false, afterMs: 0 } as const;

describe('queued jobs under a stop', () => {
  it.each([
    ['of a type', () => type(step), other],
    ['of a tenant', () => tenant(acme), step],
  ])('%s go back to waiting and do not begin; others stay', async (_, of, freeType) => {
    const job = await queued(acme);
    const apart = await queued(bolt, freeType);
    expect(await stop(of())).toMatchObject({ returned: 1, runningIds: [], claimsDrained: true });
    expect(await jobRow(sql, job.jobId)).toMatchObject({
      state: 'pending',
      attempt: 0,
      state_detail: { reason: 'stopped' },
    });
    expect(await beginOn(sql, job)).toEqual([]);
    expect(await claim(sql)).toEqual([]);
    expect(await beginOn(sql, apart)).toHaveLength(1);
    await resumeWork(sql, of());
    const again = await claimJob(sql, job.jobId);
    expect(await beginOn(sql, job)).toEqual([]);
    expect(await beginOn(sql, again)).toHaveLength(1);
  });

  it('are returned by the next sweep where the process that stopped them died before', async () => {
    const job = await queued(acme);
    const apart = await queued(bolt);
    await sql.begin((tx) =>
      addPause(tx, { ...tenant(acme), reason: 'incident', by: 'alice', stops: true }),
    );
    expect(await returnStopped(sql)).toBe(1);
    expect([await stateOf(job.jobId), await stateOf(apart.jobId)]).toEqual(['pending', 'queued']);
    expect(await returnStopped(sql)).toBe(0);
  });

  it('stay queued under a pause that is no stop', async () => {
    const job = await queued(acme);
    await pauseWork(sql, { ...tenant(acme), reason: 'incident', by: 'alice' });
    expect(await returnStopped(sql)).toBe(0);
    expect(await beginOn(sql, job)).toHaveLength(1);
  });

  it('go back also where a claim that was open at the stop queues them after it', async () => {
    const jobId = await addJob(sql, acme);
    let answer: ReturnType<typeof stop> | undefined;
    await sql.begin(async (tx) => {
      await claimWaitingJobs(tx, [{ jobType: step, capacity: 10 }]);
      answer = stop(type(step));
      await eventually('the stop to be stored', async () => (await listPauses(test.sql))[0]);
    });
    expect(await answer).toMatchObject({ returned: 1, claimsDrained: true });
    expect(await stateOf(jobId)).toBe('pending');
  });

  it('that another transaction has locked delay no other', async () => {
    const [held, free] = [await queued(acme), await queued(acme)];
    await test.sql.begin(async (tx) => {
      await tx`select from purser.in_flight where job_id = ${held.jobId} for update`;
      expect(await stop(tenant(acme))).toMatchObject({ returned: 1 });
    });
    expect([await stateOf(held.jobId), await stateOf(free.jobId)]).toEqual(['queued', 'pending']);
    expect(await returnStopped(sql)).toBe(1);
  });
});

describe('running jobs under a stop', () => {
  it('are found by their worker, with who and why, until the stop is resumed', async () => {
    const [attempt, apart] = [await runningJob(sql, acme), await runningJob(sql, bolt)];
    const tokens = [attempt.token, apart.token];
    expect(await stop(tenant(acme))).toMatchObject({ runningIds: [attempt.jobId], returned: 0 });
    const wish = { wish: 'stop', by: 'alice', reason: 'incident' };
    expect(await listEndRequests(sql, tokens)).toEqual(new Map([[attempt.token, wish]]));
    await stop(type(step), 'later');
    expect([...(await listEndRequests(sql, tokens)).values()]).toMatchObject([
      wish,
      { reason: 'later' },
    ]);
    await resumeWork(sql, type(step));
    await resumeWork(sql, tenant(acme));
    expect(await listEndRequests(sql, tokens)).toEqual(new Map());
    expect(await finish(sql, attempt)).toBe('applied');
  });

  it('wait again after they were handed back, uncounted, and run after the resume', async () => {
    const attempt = await runningJob(sql, acme);
    await stop(everything);
    expect(await finish(sql, attempt, handBack)).toBe('applied');
    expect(await jobRow(sql, attempt.jobId)).toMatchObject({
      state: 'pending',
      attempt: 0,
      losses: 0,
      suspect: false,
    });
    expect(await claim(sql)).toEqual([]);
    await resumeWork(sql, everything);
    expect(await begin(sql, await claimJob(sql, attempt.jobId))).toMatchObject({ attempt: 1 });
  });

  it('that are also to be cancelled are cancelled', async () => {
    const attempt = await runningJob(sql, acme);
    await stop(tenant(acme));
    await requestCancel(sql, { jobId: attempt.jobId, by: 'bob', reason: 'wrong file' });
    expect((await listEndRequests(sql, [attempt.token])).get(attempt.token)).toEqual({
      wish: 'cancel',
      by: 'bob',
      reason: 'wrong file',
    });
  });

  it('that completed at the same moment stay completed', async () => {
    const attempt = await runningJob(sql, acme);
    const stopped = sql.begin(async (tx) => {
      await finish(tx, attempt);
      const answer = stop(tenant(acme));
      await eventually('the stop to be stored', async () => (await listPauses(test.sql))[0]);
      return answer;
    });
    expect((await stopped).runningIds).toEqual([attempt.jobId]);
    expect(await finish(sql, attempt, handBack)).toBe('repeated');
    expect(await stateOf(attempt.jobId)).toBe('completed');
  });

  it('that began at the same moment are found', async () => {
    const job = await queued(acme);
    const [attempt] = await sql.begin(async (tx) => {
      const begun = await beginOn(tx, job);
      expect(await stop(tenant(acme))).toMatchObject({ returned: 0 });
      return begun;
    });
    const token = attempt?.token ?? '';
    expect([...(await listEndRequests(sql, [token])).keys()]).toEqual([token]);
  });

  it('end once each through storms of stops and resumes, and none is lost', async () => {
    await flood(sql, acme, 60);
    const ends = new AbortController();
    const completedIds = new Set<string>();
    const worker = async (): Promise<void> => {
      while (!ends.signal.aborted) {
        const [job] = await claim(sql, 1);
        if (job === undefined) await sleep(2);
        const [attempt] = job === undefined ? [] : await beginOn(sql, job);
        if (attempt === undefined) continue;
        const isStopped = (await listEndRequests(sql, [attempt.token])).size > 0;
        const result = await finish(sql, attempt, isStopped ? handBack : {});
        expect(result).toBe('applied');
        if (isStopped) continue;
        expect(completedIds.has(attempt.jobId)).toBe(false);
        completedIds.add(attempt.jobId);
      }
    };
    const workers = [worker(), worker(), worker()];
    for (let round = 0; round < 10; round += 1) {
      await stop(round % 2 === 0 ? type(step) : tenant(acme));
      await resumeWork(sql, round % 2 === 0 ? type(step) : tenant(acme));
    }
    await eventually('all to complete', async () => (completedIds.size === 60 ? true : undefined));
    ends.abort();
    await Promise.all(workers);
    const [counted] = await sql`
      select count(*)::int as jobs, max(attempt) as most from jobs where outcome = 'completed' and tenant_id = ${acme}`;
    expect(counted).toEqual({ jobs: 60, most: 1 });
  });
});
