/** Every way in which a job becomes due wakes a sleeping dispatcher: it may look by itself only once a second. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import { dispatchChannel, listeningEveryMs, lookForWork } from '../../src/jobs/dispatch.ts';
import { requestCancel } from '../../src/jobs/cancel.ts';
import { enqueueMany } from '../../src/jobs/enqueue.ts';
import { clearJobLimit, setJobLimit } from '../../src/jobs/limits/job-limits.ts';
import { returnToPending } from '../../src/jobs/queued.ts';
import { rescueLostAttempts, wakeParkedJobs } from '../../src/jobs/sweep.ts';
import { claimDueTenants } from '../../src/schedules/claim.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import {
  addJob,
  addJobType,
  claim,
  claimJob,
  eventually,
  finish,
  runningJob,
  step,
} from './job-steps.ts';

let test: TestDatabase;
let sql: Sql;
let tenantId: string;
const heard: string[] = [];

beforeAll(async () => {
  test = await freshDatabase();
  ({ sql } = test);
  await addJobType(sql);
  tenantId = await addTenant(sql, { limitUsd: '100' });
  await sql.listen(dispatchChannel, (text) => heard.push(text));
});
beforeEach(async () => {
  await claim(sql);
  await sql`update purser.dispatcher set awake_until = '-infinity'`;
});
afterAll(() => test.close());

/** Whether it notifies; what was sent before does not count. */
async function wakes(door: () => Promise<unknown>): Promise<boolean> {
  const mark = async (text: string): Promise<void> => {
    await sql`select pg_notify(${dispatchChannel}, ${text})`;
    await eventually(text, async () => (heard.includes(text) ? true : undefined));
  };
  heard.length = 0;
  await mark('begin');
  await door();
  await mark('end');
  return heard.length > 2;
}

const dueIn = (ms: number): Date => new Date(Date.now() + ms);
const soonMs = listeningEveryMs / 2;
const laterMs = 60_000;

describe('a sleeping dispatcher is woken by', () => {
  it('an enqueue of a job that is due before it would look again, and by no other', async () => {
    expect(await wakes(() => addJob(sql, tenantId))).toBe(true);
    expect(await wakes(() => addJob(sql, tenantId, { runAt: dueIn(soonMs) }))).toBe(true);
    expect(await wakes(() => addJob(sql, tenantId, { runAt: dueIn(laterMs) }))).toBe(false);
  });

  it('jobs that are enqueued together, if one of them is due soon', async () => {
    const request = (ms: number) => ({ tenantId, jobType: step, runAt: dueIn(ms) });
    expect(await wakes(() => enqueueMany(sql, [laterMs, soonMs].map(request)))).toBe(true);
    expect(await wakes(() => enqueueMany(sql, [laterMs, laterMs].map(request)))).toBe(false);
  });

  it('a replaced job', async () => {
    const key = { dedupKey: 'replaced', onDuplicate: 'replace' } as const;
    await addJob(sql, tenantId, { ...key, runAt: dueIn(laterMs) });
    const replace = (ms: number) => () => addJob(sql, tenantId, { ...key, runAt: dueIn(ms) });
    expect(await wakes(replace(laterMs))).toBe(false);
    expect(await wakes(replace(soonMs))).toBe(true);
    expect(await wakes(replace(0))).toBe(true);
  });

  it('an attempt that ended, if its job is due soon', async () => {
    const end = async (toState: 'failed' | 'pending' | 'completed' | 'cancelled', ms: number) => {
      const attempt = await runningJob(sql, tenantId);
      await sql`update purser.dispatcher set awake_until = '-infinity'`;
      return wakes(() =>
        finish(sql, attempt, {
          toState,
          ...(toState === 'failed' || toState === 'pending' ? { until: dueIn(ms) } : {}),
        }),
      );
    };
    expect(await end('failed', soonMs)).toBe(true);
    expect(await end('pending', -1_000)).toBe(true);
    expect(await end('failed', laterMs)).toBe(false);
    expect(await end('completed', 0)).toBe(false);
    expect(await end('cancelled', 0)).toBe(false);
  });

  it('a tick', async () => {
    await sql`update tenant_schedules set next_due = now() - interval '1 second'`;
    expect(await wakes(() => claimDueTenants(sql))).toBe(true);
    expect(await wakes(() => claimDueTenants(sql))).toBe(false);
    const [row] = await sql`
      select count(*)::int as jobs, bool_and(w.payload_bytes = octet_length(j.payload::text)) as measured
      from purser.waiting w join jobs j on j.id = w.job_id`;
    expect(row).toMatchObject({ measured: true });
    await sql`delete from jobs where job_type <> ${step}`;
  });

  it('a rescued attempt', async () => {
    await runningJob(sql, tenantId, {}, -1_000);
    await sql`update purser.dispatcher set awake_until = '-infinity'`;
    expect(await wakes(() => rescueLostAttempts(sql))).toBe(true);
    expect(await wakes(() => rescueLostAttempts(sql))).toBe(false);
  });

  it('a job that goes back from the queue', async () => {
    const job = await claimJob(sql, await addJob(sql, tenantId));
    await sql`update purser.dispatcher set awake_until = '-infinity'`;
    const goBack = () => returnToPending(sql, [job], 'queue entry lost');
    expect(await wakes(goBack)).toBe(true);
    expect(await wakes(goBack)).toBe(false);
  });

  describe('where a limit holds jobs back,', () => {
    const asleep = () => sql`update purser.dispatcher set awake_until = '-infinity'`;
    const limit = (most: number) =>
      setJobLimit(sql, { tenantId }, { maxRunning: most, by: 'test' });

    it('the end of a job that counted for it, however it ends, and none after the limit is gone', async () => {
      await limit(100);
      for (const toState of ['completed', 'cancelled', 'failed'] as const) {
        const attempt = await runningJob(sql, tenantId);
        await asleep();
        const until = toState === 'failed' ? { until: dueIn(laterMs) } : {};
        expect([toState, await wakes(() => finish(sql, attempt, { toState, ...until }))]).toEqual([
          toState,
          true,
        ]);
      }
      const queued = await claimJob(sql, await addJob(sql, tenantId));
      await asleep();
      expect(await wakes(() => requestCancel(sql, { ...queued, by: 'test', reason: 'test' }))).toBe(
        true,
      );
      await clearJobLimit(sql, { tenantId });
      const attempt = await runningJob(sql, tenantId);
      await asleep();
      expect(await wakes(() => finish(sql, attempt))).toBe(false);
    });

    it('a limit that is raised or removed', async () => {
      await limit(1);
      await asleep();
      expect(await wakes(() => limit(2))).toBe(true);
      expect(await wakes(() => clearJobLimit(sql, { tenantId }))).toBe(true);
    });
  });

  it('a parked job whose time has come', async () => {
    const attempt = await runningJob(sql, tenantId);
    await finish(sql, attempt, {
      toState: 'parked',
      neededUsd: '1000',
      until: dueIn(-1_000),
      countsAttempt: false,
    });
    await sql`update purser.dispatcher set awake_until = '-infinity'`;
    expect(await wakes(() => wakeParkedJobs(sql))).toBe(true);
    expect(await wakes(() => wakeParkedJobs(sql))).toBe(false);
  });
});

it('a dispatcher that finds nothing is told when the next job is due', async () => {
  await sql`delete from purser.later`;
  expect(await lookForWork(sql, 20)).toEqual({ jobTypes: [], dueInMs: Infinity });
  await addJob(sql, tenantId, { runAt: dueIn(laterMs) });
  await addJob(sql, tenantId, { runAt: dueIn(laterMs / 2) });
  const { jobTypes, dueInMs } = await lookForWork(sql, 20);
  expect(jobTypes).toEqual([]);
  expect(dueInMs).toBeGreaterThan(laterMs / 4);
  expect(dueInMs).toBeLessThanOrEqual(laterMs / 2);
  await addJob(sql, tenantId);
  expect(await lookForWork(sql, 20)).toMatchObject({ jobTypes: [step] });
  await sql`update purser.later set scheduled_for = now() - interval '1 second'`;
  expect((await lookForWork(sql, 20)).dueInMs).toBe(Infinity);
});
