/** A begin whose answer was lost is asked again under its token, and comes out as if it had been heard. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import { beginAttempts, newToken } from '../../src/jobs/attempts.ts';
import type { BeginRequest } from '../../src/jobs/attempts.ts';
import { rescueLostAttempts } from '../../src/jobs/sweep.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { untilWaiting } from '../support/holds.ts';
import { addTenant } from '../support/tenants.ts';
import { addJobType, finish, historyOf, jobRow, queuedRequest } from './job-steps.ts';

let test: TestDatabase;
let sql: Sql;
let gate: Sql;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  sql = (await test.open({ systemConnections: 8 })).system;
  gate = (await test.open()).system;
  await addJobType(sql);
});
beforeEach(async () => {
  tenantId = await addTenant(sql);
});
afterAll(() => test.close());

const begin = async (...requests: BeginRequest[]) =>
  beginAttempts(sql, requests, 'worker-1', 30_000);

it('answers with the same attempt, which began once', async () => {
  const request = await queuedRequest(sql, tenantId);
  const first = await begin(request);
  const { jobId, token } = request;
  expect(first).toMatchObject([{ jobId, token, attempt: 1 }]);
  expect(await begin(request)).toEqual(first);
  expect((await jobRow(sql, request.jobId)).attempt).toBe(1);
  expect(await historyOf(sql, request.jobId)).toEqual([
    '>pending',
    'pending>queued',
    'queued>running',
  ]);
});

it('a repeated request that arrives while the first is still waiting gets the same attempt', async () => {
  const request = await queuedRequest(sql, tenantId);
  const both = await gate.begin(async (tx) => {
    await tx`select from purser.in_flight where job_id = ${request.jobId} for update`;
    const first = begin(request);
    await untilWaiting(gate, 1);
    const second = begin(request);
    await untilWaiting(gate, 2);
    return { answers: Promise.all([first, second]) };
  });
  const [first, second] = await both.answers;
  expect(first).toMatchObject([{ token: request.token, attempt: 1 }]);
  expect(second).toEqual(first);
  expect((await jobRow(sql, request.jobId)).attempt).toBe(1);
});

it('under another token is stale, also in a batch with a valid repetition', async () => {
  const [own, other] = [await queuedRequest(sql, tenantId), await queuedRequest(sql, tenantId)];
  await begin(own, other);
  const again = await begin({ ...own, token: newToken(own.jobId) }, other);
  expect(again.map(({ token }) => token)).toEqual([other.token]);
  expect((await jobRow(sql, own.jobId)).attempt).toBe(1);
});

it('is stale once the attempt was finished or taken over', async () => {
  const [ended, lost] = [await queuedRequest(sql, tenantId), await queuedRequest(sql, tenantId)];
  await begin(ended);
  await finish(sql, ended);
  await beginAttempts(sql, [lost], 'worker-1', -1);
  await rescueLostAttempts(sql);
  expect(await begin(ended, lost)).toEqual([]);
  expect((await jobRow(sql, lost.jobId)).state).toBe('pending');
});

it('a suspect begins isolated, with its crash count, and its lease is marked', async () => {
  const [suspect, plain] = [await queuedRequest(sql, tenantId), await queuedRequest(sql, tenantId)];
  await sql`
    update background_jobs set suspect = true, losses_alone = 2 where id = ${suspect.jobId}`;
  const begun = await begin(suspect, plain);
  expect(begun.toSorted((a, b) => Number(a.jobId) - Number(b.jobId))).toMatchObject([
    { jobId: suspect.jobId, isolated: true, isolatedCrashes: 2 },
    { jobId: plain.jobId, isolated: false, isolatedCrashes: 0 },
  ]);
  expect(await begin(suspect)).toMatchObject([{ isolated: true, isolatedCrashes: 2 }]);
  const leases = await sql`
    select job_id, alone from purser.in_flight where job_id in (${suspect.jobId}, ${plain.jobId})
    order by job_id`;
  expect([...leases]).toEqual([
    { job_id: suspect.jobId, alone: true },
    { job_id: plain.jobId, alone: false },
  ]);
});
