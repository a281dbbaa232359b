/** Begins and ends of many jobs in few statements: every caller gets its own answer. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import { renewLeases } from '../../../src/jobs/leases.ts';
import type { BeginRequest } from '../../../src/jobs/attempts.ts';
import { createLogger } from '../../../src/log.ts';
import { createBatches } from '../../../src/worker/batches/attempt-batches.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { untilWaiting } from '../../support/holds.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJob, addJobType, begin, claim, completed, jobRow } from '../../jobs/job-steps.ts';
import { newToken } from '../../../src/jobs/attempts.ts';

let test: TestDatabase;
let sql: Sql;
let gate: Sql;
let tenantId: string;
let lines: Record<string, unknown>[] = [];

beforeAll(async () => {
  test = await freshDatabase();
  sql = (await test.open({ systemConnections: 12 })).system;
  gate = (await test.open()).system;
  await addJobType(sql);
});
beforeEach(async () => {
  tenantId = await addTenant(sql);
  lines = [];
});
afterAll(() => test.close());

const log = createLogger({
  level: 'debug',
  role: 'test',
  destination: { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
});
const open = (maxBatch?: number) =>
  createBatches({
    sql,
    workerId: 'worker-1',
    leaseMs: 30_000,
    log,
    ...(maxBatch === undefined ? {} : { maxBatch }),
  });

/** `count` queued jobs, as a worker receives them. */
async function queued(count: number): Promise<BeginRequest[]> {
  const added = new Set<string>();
  while (added.size < count) added.add(await addJob(sql, tenantId));
  const jobs = (await claim(sql)).filter(({ jobId }) => added.has(jobId));
  expect(jobs).toHaveLength(count);
  return jobs.map(({ jobId, entryId }) => ({ jobId, entryId, token: newToken(jobId) }));
}
const running = async (count: number) =>
  Promise.all((await queued(count)).map((job) => begin(sql, job)));

/** How many of these jobs each transaction has changed last, in order of the transactions. */
async function sizes(jobs: readonly { jobId: string }[]): Promise<number[]> {
  const rows = await sql<{ count: number }[]>`
    select count(*)::int from (
      select job_id, xmin as transaction from purser.in_flight
      union all select id, xmin from jobs where outcome is not null
    ) j where job_id = any(${jobs.map(({ jobId }) => jobId)}::bigint[])
    group by transaction order by min(transaction::text::bigint)`;
  return rows.map(({ count }) => count);
}

const shuffled = <T>(items: readonly T[]): T[] =>
  items
    .map((item) => ({ item, at: Math.random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item);

describe('what is asked', () => {
  it('leaves together when it is asked in one turn of the event loop', async () => {
    const batches = open();
    const jobs = await queued(10);
    const attempts = await Promise.all(jobs.map((job) => batches.begin(job)));
    expect(attempts.map((attempt) => attempt?.token)).toEqual(jobs.map(({ token }) => token));
    expect(await sizes(jobs)).toEqual([10]);
    await Promise.all(jobs.map((job) => batches.finish({ ...job, end: completed })));
    expect(await sizes(jobs)).toEqual([10]);
  });

  it('never exceeds a batch', async () => {
    const batches = open(3);
    const jobs = await queued(8);
    await Promise.all(jobs.map((job) => batches.begin(job)));
    expect(await sizes(jobs)).toEqual([3, 3, 2]);
  });

  it('of large results never exceeds 4 MiB, and one that is larger is sent by itself', async () => {
    const batches = open();
    const jobs = await running(10);
    const text = 'x'.repeat(1_000_000);
    const results = jobs.map((_, at) => (at === 7 ? { texts: Array(5).fill(text) } : { text }));
    const answers = await Promise.all(
      jobs.map((job, at) => batches.finish({ ...job, end: { ...completed, result: results[at] } })),
    );
    expect(new Set(answers)).toEqual(new Set(['applied']));
    expect(await sizes(jobs)).toEqual([4, 4, 1, 1]);
  });

  it('of begins does not wait for ends', async () => {
    const batches = open();
    const [ended] = await running(1);
    const [job] = await queued(1);
    if (ended === undefined || job === undefined) throw new Error('no jobs');
    const { finished } = await gate.begin(async (tx) => {
      await tx`select from purser.in_flight where job_id = ${ended.jobId} for update`;
      const finished = batches.finish({ ...ended, end: completed });
      await untilWaiting(gate, 1);
      expect(await batches.begin(job)).toMatchObject({ token: job.token });
      return { finished };
    });
    expect(await finished).toBe('applied');
  });
});

describe('each caller', () => {
  it('gets its own answer: of two begins the stale one has no attempt', async () => {
    const batches = open();
    const [first, job, stale] = await queued(3);
    if (first === undefined || job === undefined || stale === undefined) throw new Error('no jobs');
    const answers = await Promise.all([
      batches.begin(first),
      batches.begin({ ...stale, entryId: randomUUID() }),
      batches.begin(job),
    ]);
    expect(answers.map((attempt) => attempt?.jobId)).toEqual([first.jobId, undefined, job.jobId]);
    expect((await jobRow(sql, stale.jobId)).state).toBe('queued');
  });

  it('of several for the same job gets its own answer too', async () => {
    const batches = open();
    const [first, job] = await queued(2);
    if (first === undefined || job === undefined) throw new Error('no jobs');
    const rival = { ...job, token: newToken(job.jobId) };
    const [, one, other] = await Promise.all(
      [first, job, rival].map((request) => batches.begin(request)),
    );
    expect([one?.token, other]).toEqual([job.token, undefined]);
    const answers = await Promise.all(
      [first, rival, job, job].map((request) => batches.finish({ ...request, end: completed })),
    );
    expect(answers).toEqual(['applied', 'stale', 'applied', 'repeated']);
  });
});

it('four batchers over the same jobs, in any order, never deadlock', async () => {
  const deadlocks = async () => {
    await gate`select pg_stat_clear_snapshot()`;
    const [row] = await gate<{ deadlocks: string }[]>`
      select deadlocks from pg_stat_database where datname = current_database()`;
    return row?.deadlocks;
  };
  const before = await deadlocks();
  for (let round = 0; round < 10; round += 1) {
    const batchers = [open(), open(), open(), open()];
    const jobs = await queued(40);
    const begun = await Promise.all(
      batchers.flatMap((batches) =>
        shuffled(jobs).map((job) => batches.begin({ ...job, token: newToken(job.jobId) })),
      ),
    );
    const attempts = begun.filter((attempt) => attempt !== undefined);
    expect(new Set(attempts.map(({ jobId }) => jobId)).size).toBe(40);
    expect(attempts).toHaveLength(40);
    const tokens = attempts.map(({ token }) => token);
    const answers = Promise.all(
      batchers.flatMap((batches) =>
        shuffled(attempts).map(({ jobId, token }) =>
          batches.finish({ jobId, token, end: completed }),
        ),
      ),
    );
    await Promise.all([1, 2, 3].map(() => renewLeases(sql, 'worker-1', shuffled(tokens), 30_000)));
    const applied = (await answers).filter((answer) => answer === 'applied');
    expect([applied.length, (await answers).includes('stale')]).toEqual([40, false]);
  }
  expect(lines).toEqual([]);
  expect(await deadlocks()).toBe(before);
});
