/** A row that another transaction has locked delays its own job, and no other job of the worker. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { Database } from '../../../src/db/database.ts';
import { createBatches } from '../../../src/worker/batches/attempt-batches.ts';
import { addJobType, completed, jobRow, queuedRequest, runningJob } from '../../jobs/job-steps.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { silentLog } from '../../support/llm-attempt.ts';
import { addTenant } from '../../support/tenants.ts';

let test: TestDatabase;
let database: Database;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open();
  await addJobType(test.sql);
});
beforeEach(async () => {
  tenantId = await addTenant(test.sql);
});
afterAll(() => test.close());

const batches = (giveUpMs?: number) =>
  createBatches({
    sql: database.system,
    workerId: 'worker-1',
    leaseMs: 30_000,
    log: silentLog,
    ...(giveUpMs === undefined ? {} : { giveUpMs }),
  });

it('an end waits for the transaction that has its token; the ends beside and after it do not', async () => {
  const pipes = batches();
  const [held, beside, after] = [
    await runningJob(test.sql, tenantId),
    await runningJob(test.sql, tenantId),
    await runningJob(test.sql, tenantId),
  ];
  const end = ({ jobId, token }: typeof held) => pipes.finish({ jobId, token, end: completed });
  const { waits } = await test.sql.begin(async (tx) => {
    await tx`select from purser.in_flight where token = ${held.token} for key share`;
    const waits = end(held);
    expect(await Promise.all([end(beside), end(after)])).toEqual(['applied', 'applied']);
    return { waits };
  });
  expect(await waits).toBe('applied');
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

it('the caller is told when the row stays locked', async () => {
  const pipes = batches(10);
  const request = await queuedRequest(test.sql, tenantId);
  await test.sql.begin(async (tx) => {
    await tx`select from purser.in_flight where job_id = ${request.jobId} for update`;
    await expect(pipes.begin(request)).rejects.toMatchObject({ code: '55P03' });
  });
  expect(await jobRow(test.sql, request.jobId)).toMatchObject({ state: 'queued' });
});
