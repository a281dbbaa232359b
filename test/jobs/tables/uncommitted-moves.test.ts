/** Cancel and replace of a job that another transaction has moved to another table and not committed. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Queryable, Sql } from '../../../src/db/connect.ts';
import type { Database } from '../../../src/db/database.ts';
import { beginAttempts, newToken } from '../../../src/jobs/attempts.ts';
import { requestCancel } from '../../../src/jobs/cancel.ts';
import { claimWaitingJobs } from '../../../src/jobs/dispatch.ts';
import type { DispatchedJob } from '../../../src/jobs/dispatch.ts';
import { enqueue } from '../../../src/jobs/enqueue.ts';
import { returnToPending } from '../../../src/jobs/queued.ts';
import { wakeParkedJobs } from '../../../src/jobs/sweep.ts';
import { misplaced } from '../../faults/auditor.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { untilWaiting } from '../../support/holds.ts';
import { addTenant } from '../../support/tenants.ts';
import {
  addJob,
  addJobType,
  claim,
  claimJob,
  finish,
  jobRow,
  runningJob,
  step,
} from '../job-steps.ts';

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
  await sql`delete from tenants`;
  tenantId = await addTenant(sql);
});
afterAll(() => test.close());

class RolledBack extends Error {}

/** Starts `act` once `move` has moved the job, and ends the transaction of the move once `act` waits for it. */
async function during<T>(
  move: (tx: Queryable) => Promise<unknown>,
  end: 'commit' | 'rollback',
  act: () => Promise<T>,
): Promise<T> {
  const started: Promise<T>[] = [];
  await sql
    .begin(async (tx) => {
      await move(tx);
      started.push(act());
      await untilWaiting(test.sql, 1);
      if (end === 'rollback') throw new RolledBack();
    })
    .catch((error: unknown) => {
      if (!(error instanceof RolledBack)) throw error;
    });
  const [answer] = started;
  if (answer === undefined) throw new Error('nothing was started');
  return answer;
}

const dedupKey = 'the job';
const old = { text: 'old' };

/** A job and a move of it that finds it. */
interface Moved {
  readonly jobId: string;
  readonly move: (tx: Queryable) => Promise<unknown>;
  /** The entries that it was dispatched in. */
  readonly entries: DispatchedJob[];
}

const waitingJob = () => addJob(sql, tenantId, { dedupKey, payload: old });
/** In later, though its time has come. */
async function dueJob(): Promise<string> {
  const runAt = new Date(Date.now() + 3_600_000);
  const jobId = await addJob(sql, tenantId, { dedupKey, payload: old, runAt });
  await sql`update purser.later set scheduled_for = now() where job_id = ${jobId}`;
  return jobId;
}

async function dispatched(jobId: string): Promise<Moved> {
  const entries: DispatchedJob[] = [];
  const move = async (tx: Queryable) => {
    entries.push(...(await claimWaitingJobs(tx, [{ jobType: step, capacity: 10 }])));
    expect(entries.map((job) => job.jobId)).toEqual([jobId]);
  };
  return { jobId, move, entries };
}

const moves: Readonly<Record<string, () => Promise<Moved>>> = {
  'is dispatched': async () => dispatched(await waitingJob()),
  'becomes due and is dispatched': async () => dispatched(await dueJob()),
  'becomes due': async () => ({
    jobId: await dueJob(),
    move: (tx) => tx`select purser.promote_due(10)`,
    entries: [],
  }),
  'goes back from a queue': async () => {
    const job = await claimJob(sql, await waitingJob());
    const move = async (tx: Queryable) =>
      expect(await returnToPending(tx, [job], 'queue store refused')).toBe(1);
    return { jobId: job.jobId, move, entries: [job] };
  },
  'is woken': async () => {
    const attempt = await runningJob(sql, tenantId, { dedupKey, payload: old });
    const until = new Date(Date.now() - 1_000);
    await finish(sql, attempt, { toState: 'parked', neededUsd: '1', countsAttempt: false, until });
    const move = async (tx: Queryable) => expect(await wakeParkedJobs(tx)).toBe(1);
    return { jobId: attempt.jobId, move, entries: [] };
  },
};

async function beginsNothing(entries: readonly DispatchedJob[]): Promise<void> {
  const requests = entries.map((job) => ({ ...job, token: newToken(job.jobId) }));
  expect(await beginAttempts(sql, requests, 'worker-1', 30_000)).toEqual([]);
}

const bothEnds = (names: readonly string[]) =>
  names.flatMap((name) => (['commit', 'rollback'] as const).map((end) => [name, end] as const));

describe('a request to cancel', () => {
  it.each(bothEnds(Object.keys(moves)))(
    'ends a job that %s, whether that ends by %s',
    async (name, end) => {
      const arrange = moves[name];
      if (arrange === undefined) throw new Error(`there is no move "${name}"`);
      const { jobId, move, entries } = await arrange();
      const cancel = () => requestCancel(sql, { jobId, by: 'alice', reason: 'wrong file' });
      const answer = await during(move, end, cancel);
      expect(answer).toEqual({ outcome: 'cancelled', state: 'cancelled' });
      expect(await jobRow(sql, jobId)).toMatchObject({ state: 'cancelled' });
      expect([...(await misplaced(sql))]).toEqual([]);
      await beginsNothing(entries);
      expect(await claim(sql)).toEqual([]);
      expect(await cancel()).toEqual({ outcome: 'ended', state: 'cancelled' });
    },
  );
});

describe('a replacement', () => {
  const payload = { text: 'new' };
  const replace = () =>
    enqueue(sql, {
      tenantId,
      jobType: step,
      dedupKey,
      payload,
      priority: 5,
      onDuplicate: 'replace',
    });

  it.each([
    ['is dispatched', 'commit', false],
    ['is dispatched', 'rollback', true],
    ['becomes due and is dispatched', 'commit', false],
    ['becomes due and is dispatched', 'rollback', true],
    ['becomes due', 'commit', true],
    ['becomes due', 'rollback', true],
  ] as const)('of a job that %s, which ends by %s: replaced %s', async (name, end, replaced) => {
    const arrange = moves[name];
    if (arrange === undefined) throw new Error(`there is no move "${name}"`);
    const { jobId, move, entries } = await arrange();
    expect(await during(move, end, replace)).toEqual({ jobId, created: false, replaced });
    expect([...(await misplaced(sql))]).toEqual([]);
    const [stored] = await sql`
      select j.payload, j.priority, b.state
      from jobs j join background_jobs b using (id) where id = ${jobId}`;
    expect(stored).toMatchObject(
      replaced
        ? { payload, priority: 5, state: 'pending' }
        : { payload: old, priority: 0, state: 'queued' },
    );
    if (replaced) await beginsNothing(entries);
    const jobs = replaced ? await claim(sql) : entries;
    const [begun] = await beginAttempts(
      sql,
      jobs.map((job) => ({ ...job, token: newToken(job.jobId) })),
      'worker-1',
      30_000,
    );
    expect(JSON.parse(begun?.payload ?? 'null')).toEqual(replaced ? payload : old);
    expect(jobs.map((job) => job.priority)).toEqual([replaced ? 5 : 0]);
  });
});
