/** Jobs under way and ended ones; of several causes the one to lift first; the jobs of a type, a tenant or the fleet; the cost. */
import { describe, expect, it } from 'vitest';
import { setStop } from '../../../src/budget/stops.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { queueStoreSight } from '../../../src/db/heartbeats.ts';
import { requestCancel } from '../../../src/jobs/cancel.ts';
import { setJobLimit } from '../../../src/jobs/limits/job-limits.ts';
import { why } from '../../../src/operations/why/why.ts';
import { addJob, claimJob, finish, runningJob, step } from '../../jobs/job-steps.ts';
import { reserve } from '../../support/holds.ts';
import {
  beat,
  causesOf,
  codesOf,
  firstOf,
  inAnHour,
  other,
  pause,
  refusedJob,
  silentFor,
  sql,
  stopped,
  tenantId,
  test,
  waitingRows,
  useArranged,
} from './arranged.ts';

useArranged();

describe('a job in a queue or under way', () => {
  it('is queued: since when, and how many slots are free', async () => {
    const { jobId } = await claimJob(sql, await addJob(sql, tenantId));
    await beat('worker', [step], 3);
    expect(await codesOf(jobId)).toEqual(['queued']);
    expect(await firstOf(jobId)).toMatchObject({
      says: expect.stringMatching(/1 workers run the type in 5 slots, 2 slots are free$/),
    });
    await sql`update purser.in_flight set queued_at = now() - interval '2 minutes'`;
    expect((await firstOf(jobId)).says).toMatch(/see the logs of the workers, and restart them$/);
  });

  it('is not held by a pause any more', async () => {
    const { jobId } = await claimJob(sql, await addJob(sql, tenantId));
    await pause('all');
    expect(await codesOf(jobId)).toEqual(['queued']);
  });

  it('may be in an entry of a worker that fell silent after it was queued', async () => {
    const { jobId } = await claimJob(sql, await addJob(sql, tenantId));
    await sql`update purser.in_flight set queued_at = now() - interval '1 minute'`;
    await silentFor(30);
    expect(await codesOf(jobId)).toEqual(['no_worker', 'worker_silent', 'queued']);
    await sql`update heartbeats set process_id = 'worker-2' where role = 'worker'`;
    await beat('worker', [step]);
    expect(await codesOf(jobId)).toEqual(['worker_silent', 'queued']);
    await silentFor(90);
    await beat('worker', [step]);
    expect(await codesOf(jobId)).toEqual(['queued']);
  });

  it('waits in a queue that nobody serves any more, or whose store is away from its workers', async () => {
    const { jobId } = await claimJob(sql, await addJob(sql, tenantId));
    await beat('worker', [other]);
    expect((await codesOf(jobId))[0]).toBe('no_worker_for_type');
    await beat('worker', [step]);
    await silentFor(60);
    await queueStoreSight(sql, 'worker-1')(true);
    expect((await codesOf(jobId))[0]).toBe('queue_store_away');
  });

  it('runs, or is held by a worker that fell silent', async () => {
    const { jobId } = await runningJob(sql, tenantId);
    expect(await codesOf(jobId)).toEqual(['running']);
    await silentFor(60);
    await sql`update purser.in_flight set expires_at = now() - interval '1 second'`;
    expect(await codesOf(jobId)).toEqual(['worker_silent', 'running']);
    expect((await causesOf(jobId))[1]?.says).toMatch(/its lease ended at 2\S+ and was not renewed/);
    await stopped('scheduler');
    expect(await codesOf(jobId)).toEqual(['no_scheduler', 'worker_silent', 'running']);
  });
});

describe('a job that has ended', () => {
  it('says how', async () => {
    const done = await runningJob(sql, tenantId);
    await finish(sql, done);
    const dead = await runningJob(sql, tenantId);
    const error = { code: 'http_403', message: 'no' };
    await finish(sql, dead, { toState: 'dead_letter', error, detail: { reason: 'fatal' } });
    const waiting = await addJob(sql, tenantId);
    await requestCancel(sql, { jobId: waiting, by: 'dave', reason: 'twice' });
    expect(await firstOf(done.jobId)).toMatchObject({ code: 'completed' });
    expect(await firstOf(dead.jobId)).toMatchObject({
      code: 'dead_letter',
      says: expect.stringMatching(/^it is a dead letter since 2\S+ \(fatal, http_403\)$/),
      lift: `purser dlq replay ${dead.jobId}`,
    });
    expect(await firstOf(waiting)).toMatchObject({
      code: 'cancelled',
      says: expect.stringMatching(/by dave: twice$/),
    });
    expect((await why(sql, { jobId: waiting })).state).toBe('cancelled');
  });

  it('or never was', async () => {
    await expect(why(sql, { jobId: '999999999' })).rejects.toMatchObject({ code: 'unknown_job' });
  });
});

describe('of several causes the one to lift first comes first', () => {
  const noWorker = () => stopped('worker');
  const noScheduler = () => stopped('scheduler');
  const paused = () => pause('tenant', tenantId);
  const capFull = () => setJobLimit(sql, { tenantId }, { maxRunning: 0, by: 'bob' });
  const waits = () => addJob(sql, tenantId);
  const isLater = () => addJob(sql, tenantId, { runAt: inAnHour() });
  const lacksBudget = () => refusedJob('0.5');
  const storeAway = () => queueStoreSight(sql, 'scheduler-1')(true);

  it.each([
    ['paused, no worker', waits, [noWorker, paused], ['paused', 'no_worker', 'turn']],
    ['paused, no scheduler', waits, [noScheduler, paused], ['paused', 'no_scheduler', 'turn']],
    ['budget, paused', lacksBudget, [paused], ['paused', 'budget']],
    ['budget, no scheduler', lacksBudget, [noScheduler], ['no_scheduler', 'budget']],
    ['budget, no worker', lacksBudget, [noWorker], ['budget', 'no_worker']],
    ['cap, later', isLater, [capFull], ['later', 'limit_running']],
    ['no worker, later', isLater, [noWorker], ['later', 'no_worker']],
    ['later, paused', isLater, [paused], ['paused', 'later']],
    ['cap, no worker', waits, [capFull, noWorker], ['no_worker', 'limit_running', 'turn']],
    ['cap, paused', waits, [capFull, paused], ['paused', 'limit_running', 'turn']],
    [
      'queue store, cap',
      waits,
      [capFull, storeAway],
      ['queue_store_away', 'limit_running', 'turn'],
    ],
    [
      'all of them',
      waits,
      [capFull, noWorker, noScheduler, paused],
      ['paused', 'no_scheduler', 'no_worker', 'limit_running', 'turn'],
    ],
  ] as const)('%s', async (_title, make, acts, expected) => {
    await reserve(sql, { ...(await runningJob(sql, tenantId)), tenantId }, '0.7');
    const jobId = await make();
    for (const act of acts) await act();
    expect(await codesOf(jobId)).toEqual(expected);
  });

  it('a stop before the breaker before the budget, at the same call', async () => {
    await reserve(sql, { ...(await runningJob(sql, tenantId)), tenantId }, '0.7');
    const jobId = await refusedJob('0.5');
    await setStop(sql, { tenantId, aborts: false, reason: 'x', by: 'carol' });
    expect(await codesOf(jobId)).toEqual(['llm_stopped', 'budget']);
  });
});

describe('the jobs of a type, of a tenant, or of the fleet', () => {
  const codes = async (target: Parameters<typeof why>[1]) =>
    (await why(sql, target)).causes.map(({ code }) => code);

  it('have what holds all of them, in the same order', async () => {
    expect(await codes({})).toEqual(['nothing_waits']);
    await addJob(sql, tenantId);
    await addJob(sql, tenantId, { jobType: other });
    await addJob(sql, tenantId, { runAt: inAnHour() });
    expect(await codes({})).toEqual(['no_worker_for_type', 'turn', 'turn']);
    expect(await codes({ jobType: step })).toEqual(['turn']);
    expect(await codes({ jobType: other })).toEqual(['no_worker_for_type', 'turn']);
    expect(await codes({ tenantId })).toEqual(['later', 'no_worker_for_type', 'turn', 'turn']);
    await pause('tenant', tenantId);
    await stopped('scheduler');
    expect(await codes({})).toEqual([
      'paused',
      'no_scheduler',
      'no_worker_for_type',
      'turn',
      'turn',
    ]);
    expect(await codes({ jobType: step })).toEqual(['no_scheduler', 'turn']);
    expect((await codes({ tenantId }))[0]).toBe('paused');
  });

  it('are parked, stopped or limited', async () => {
    await reserve(sql, { ...(await runningJob(sql, tenantId)), tenantId }, '0.7');
    await refusedJob('0.5');
    await setJobLimit(sql, { tenantId }, { maxRunning: 1, by: 'bob' });
    await setStop(sql, { tenantId, aborts: false, reason: 'x', by: 'carol' });
    expect(await codes({ tenantId })).toEqual(['llm_stopped', 'budget', 'limit_running']);
  });

  it('are unknown', async () => {
    await expect(why(sql, { jobType: 'nope' })).rejects.toMatchObject({ code: 'unknown_job_type' });
    await expect(why(sql, { tenantId: 'nope' })).rejects.toMatchObject({ code: 'unknown_tenant' });
  });
});

describe('the cost of an answer', () => {
  /** Rows of the tables of jobs that `run` reads, by the server's own count: a session reports when it ends. */
  async function rowsRead(run: (own: Sql) => Promise<unknown>): Promise<number> {
    const count = async (): Promise<number> => {
      const [row] = await sql<{ rows: number }[]>`
        select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int as rows
        from pg_stat_user_tables where relname in ('waiting', 'later', 'parked', 'jobs', 'job_history')`;
      return row?.rows ?? 0;
    };
    const before = await count();
    const own = await test.open({ systemConnections: 1 });
    await run(own.system);
    await own.close();
    await expect.poll(count, { timeout: 10_000 }).toBeGreaterThan(before);
    return (await count()) - before;
  }

  it('does not grow with what waits', async () => {
    const jobId = await addJob(sql, tenantId, { priority: -1_000 });
    await waitingRows(30_000);
    const targets = [{ jobId }, { jobType: step }, { tenantId }, {}];
    for (const target of targets) {
      const read = await rowsRead((own) => why(own, target));
      expect([target, read < 10_000]).toEqual([target, true]);
    }
  });
});
