/** A stop is on record; a discard ends what waits under it, in batches that are on record, and nothing else. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import { listPauses, pauseWork, resumeWork } from '../../src/jobs/pauses.ts';
import type { PauseTarget } from '../../src/jobs/pauses.ts';
import { countOpenJobs } from '../../src/jobs/stop/stopped.ts';
import { listActs } from '../../src/operations/audit.ts';
import type { Operator } from '../../src/operations/audit.ts';
import { discardWaiting } from '../../src/operations/stop/discard.ts';
import { stopWork } from '../../src/operations/stop/stop.ts';
import type { StopAnswer } from '../../src/operations/stop/stop.ts';
import {
  addJob,
  addJobType,
  claim,
  claimJob,
  finish,
  flood,
  historyOf,
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
const tenant = (name: string): PauseTarget => ({ scope: 'tenant', name });
const type = (name: string): PauseTarget => ({ scope: 'job_type', name });
const alice: Operator = { name: 'alice', proof: 'asserted', door: 'cli', host: 'desk' };
const stop = (target: PauseTarget) => stopWork(sql, alice, { target, reason: 'incident' });
const stateOf = async (jobId: string): Promise<string> => (await jobRow(sql, jobId)).state;
const handBack = { toState: 'pending', countsAttempt: false, afterMs: 0 } as const;
const newestActs = (limit: number) => listActs(sql, { limit });

describe('a discard', () => {
  const discard = (target: PauseTarget, { newestId, runningIds }: StopAnswer) =>
    discardWaiting(sql, alice, {
      target,
      reason: 'incident',
      upToId: newestId,
      sparedIds: runningIds,
    });

  it('ends jobs that have not begun, in whatever state they wait, and no others', async () => {
    const failed = await runningJob(sql, acme);
    await finish(sql, failed, {
      toState: 'failed',
      error: { code: 'boom', message: 'boom' },
      afterMs: 0,
    });
    const parked = await runningJob(sql, acme);
    await finish(sql, parked, { ...handBack, toState: 'parked', neededUsd: '1' });
    const later = await addJob(sql, acme, { runAt: new Date(Date.now() + 3_600_000) });
    const inQueue = await addJob(sql, acme, { jobType: other });
    await claim(sql, 10, other);
    const running = await runningJob(sql, acme);
    const waiting = await addJob(sql, acme);
    const ofBolt = await addJob(sql, bolt);
    // Of step, all that wait were claimed for the running ones.
    const ids = [failed.jobId, parked.jobId, later, inQueue, waiting];
    expect(await countOpenJobs(sql, tenant(acme))).toMatchObject({
      later: 1,
      parked: 1,
      running: 1,
      tenants: 1,
    });
    const stopped = await stop(tenant(acme));
    await finish(sql, running, handBack);
    const newer = await addJob(sql, acme);
    expect(await discard(tenant(acme), stopped)).toBe(5);
    for (const jobId of ids) {
      expect(await jobRow(sql, jobId)).toMatchObject({
        state: 'cancelled',
        state_detail: { by: 'alice', reason: 'incident' },
      });
    }
    for (const jobId of [running.jobId, newer, ofBolt])
      expect(await stateOf(jobId)).toBe('pending');
    expect((await historyOf(sql, waiting)).at(-1)).toBe('pending>cancelled');
    expect(await newestActs(1)).toMatchObject([
      { act: 'stop_discard', tenantId: acme, affected: 5, jobIds: ids },
    ]);
  });

  it('goes in batches of 1,000, each with its own record of all its jobs', async () => {
    await flood(sql, acme, 1_050);
    const stopped = await stop(type(step));
    expect(await discard(type(step), stopped)).toBe(1_050);
    const acts = await newestActs(2);
    expect(acts.map(({ affected }) => affected)).toEqual([50, 1_000]);
    expect(new Set(acts.flatMap(({ jobIds }) => jobIds)).size).toBe(1_050);
    const [left] = await sql`select count(*)::int as jobs from jobs where outcome is null`;
    expect(left).toEqual({ jobs: 0 });
  });

  it('by two operators at once ends each job once', async () => {
    await flood(sql, acme, 300);
    const stopped = await stop(everything);
    const both = await Promise.all([discard(everything, stopped), discard(everything, stopped)]);
    expect(both[0] + both[1]).toBe(300);
    const [counted] = await sql`
      select count(*)::int as ends, count(distinct job_id)::int as jobs from purser.job_history
      where tenant_id = ${acme} and to_state = 'cancelled'`;
    expect(counted).toEqual({ ends: 300, jobs: 300 });
  });

  it('leaves a job that another transaction has locked, and does not wait for it', async () => {
    const [held, free] = [await addJob(sql, acme), await addJob(sql, acme)];
    const stopped = await stop(tenant(acme));
    for (const lock of ['purser.waiting where job_id', 'public.jobs where id']) {
      await test.sql.begin(async (tx) => {
        await tx.unsafe(`select from ${lock} = ${held} for update`);
        expect(await discard(tenant(acme), stopped)).toBeLessThanOrEqual(1);
      });
      expect([await stateOf(held), await stateOf(free)]).toEqual(['pending', 'cancelled']);
    }
    expect(await discard(tenant(acme), stopped)).toBe(1);
  });
});

describe('the record of a stop', () => {
  it('is one act with its operator, its reason, the jobs in flight and what it replaced', async () => {
    const [attempt, job] = [
      await runningJob(sql, acme),
      await claimJob(sql, await addJob(sql, acme)),
    ];
    await pauseWork(sql, { ...tenant(acme), reason: 'first', by: 'bob' });
    const answer = await stop(tenant(acme));
    expect(answer.replaced).toMatchObject({ by: 'bob', reason: 'first', stops: false });
    expect(await newestActs(1)).toMatchObject([
      {
        ...alice,
        act: 'stop',
        tenantId: acme,
        jobType: null,
        reason: 'incident',
        affected: 2,
        jobIds: [attempt.jobId, job.jobId],
        before: { by: 'bob', stops: false },
        after: { running: 1, queued: 1 },
      },
    ]);
  });

  it('is not there where the target is unknown, and nothing is stopped', async () => {
    const before = await newestActs(1);
    await expect(stop(type('no_such'))).rejects.toMatchObject({ code: 'unknown_job_type' });
    await expect(stop(tenant('nobody'))).rejects.toMatchObject({ code: 'unknown_tenant' });
    expect(await newestActs(1)).toEqual(before);
    expect(await listPauses(sql)).toEqual([]);
  });

  it('stays a stop when a pause of the same target follows', async () => {
    await stop(tenant(acme));
    await pauseWork(sql, { ...tenant(acme), reason: 'longer', by: 'bob' });
    expect(await listPauses(sql)).toMatchObject([{ by: 'bob', reason: 'longer', stops: true }]);
    expect(await resumeWork(sql, tenant(acme))).toMatchObject({ stops: true });
  });
});
