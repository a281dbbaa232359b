/** A row that another transaction has locked delays its own job, and no other job of the worker. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { Database } from '../../../src/db/database.ts';
import { tenantSql } from '../../../src/db/tenant.ts';
import type { AttemptEnd } from '../../../src/jobs/attempts.ts';
import { requestCancel } from '../../../src/jobs/cancel.ts';
import { renewLeases, storeProgress } from '../../../src/jobs/leases.ts';
import { createBatches } from '../../../src/worker/batches/attempt-batches.ts';
import { addJobType, completed, jobRow, queuedRequest, runningJob } from '../../jobs/job-steps.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { collectingLog } from '../../support/collecting-log.ts';
import { silentLog } from '../../support/llm-attempt.ts';
import { addTenant } from '../../support/tenants.ts';

let test: TestDatabase;
let database: Database;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ tenantConnections: 2 });
  await addJobType(test.sql);
});
beforeEach(async () => {
  tenantId = await addTenant(test.sql);
});
afterAll(() => test.close());

const batches = (giveUpMs?: number, log = silentLog) =>
  createBatches({
    sql: database.system,
    workerId: 'worker-1',
    leaseMs: 30_000,
    log,
    ...(giveUpMs === undefined ? {} : { giveUpMs }),
  });

const ends: Readonly<Record<string, AttemptEnd>> = {
  'a completion': completed,
  'a failure': {
    toState: 'failed',
    countsAttempt: true,
    error: { code: 'error', message: 'again' },
    detail: {},
  },
};

it.each(Object.entries(ends))(
  '%s waits for the transaction that has its token; the ends beside and after it go on together',
  async (_, end) => {
    const { log, lines } = collectingLog();
    const pipes = batches(undefined, log);
    const running = async (count: number) => {
      const jobs = [];
      while (jobs.length < count) jobs.push(await runningJob(test.sql, tenantId));
      return jobs;
    };
    const [[held], beside, after] = [await running(1), await running(20), await running(3)];
    if (held === undefined) throw new Error('none runs');
    const finish = ({ jobId, token }: typeof held) => pipes.finish({ jobId, token, end });
    const { waits } = await test.sql.begin(async (tx) => {
      await tx`select from purser.in_flight where token = ${held.token} for key share`;
      const waits = finish(held);
      expect(new Set(await Promise.all(beside.map(finish)))).toEqual(new Set(['applied']));
      for (const one of after) expect(await finish(one)).toBe('applied');
      return { waits };
    });
    expect(await waits).toBe('applied');
    // None had to be sent by itself.
    expect(lines.filter(({ event }) => event.startsWith('batch_'))).toEqual([]);
  },
);

it('the caller is told when its attempt stays locked, which then runs on', async () => {
  const pipes = batches(10);
  const { jobId, token } = await runningJob(test.sql, tenantId);
  await test.sql.begin(async (tx) => {
    await tx`select from purser.in_flight where token = ${token} for key share`;
    await expect(pipes.finish({ jobId, token, end: completed })).rejects.toMatchObject({
      code: 'lock_held',
      message: expect.stringContaining(jobId),
    });
  });
  expect(await jobRow(test.sql, jobId)).toMatchObject({ state: 'running' });
  expect(await pipes.finish({ jobId, token, end: completed })).toBe('applied');
  expect(await pipes.finish({ jobId, token, end: completed })).toBe('repeated');
});

it('a handler that holds the commit fence holds up neither its own renewals, progress nor a wish to cancel', async () => {
  const { jobId, token } = await runningJob(test.sql, tenantId);
  await tenantSql(database.tenant, { token }).begin(async (tx) => {
    await tx`select purser.commit_fence()`;
    expect(await renewLeases(test.sql, 'worker-1', [token], 30_000)).toEqual(
      new Map([[token, 'renewed']]),
    );
    expect(await storeProgress(test.sql, [{ token, done: 0.5, note: null }])).toBe(1);
    const wish = { jobId, by: 'alice', reason: 'r' };
    expect(await requestCancel(test.sql, wish)).toMatchObject({ outcome: 'requested' });
  });
});

it('a begin waits for the transaction that has its job; the begins beside it do not', async () => {
  const pipes = batches();
  const [held, beside] = [
    await queuedRequest(test.sql, tenantId),
    await queuedRequest(test.sql, tenantId),
  ];
  const { waits } = await test.sql.begin(async (tx) => {
    await tx`select from purser.in_flight where job_id = ${held.jobId} for update`;
    const waits = pipes.begin(held);
    expect(await pipes.begin(beside)).toMatchObject({ jobId: beside.jobId });
    return { waits };
  });
  expect(await waits).toMatchObject({ jobId: held.jobId });
});

it('the caller is told when the row of its begin stays locked', async () => {
  const pipes = batches(10);
  const request = await queuedRequest(test.sql, tenantId);
  await test.sql.begin(async (tx) => {
    await tx`select from purser.in_flight where job_id = ${request.jobId} for update`;
    await expect(pipes.begin(request)).rejects.toMatchObject({ code: '55P03' });
  });
  expect(await jobRow(test.sql, request.jobId)).toMatchObject({ state: 'queued' });
});
