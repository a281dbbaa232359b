/** Stop, resume and undo of a batch, and a batch that cancels. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import { listDeadLetters } from '../../../src/jobs/dead-letters.ts';
import { listActs } from '../../../src/operations/audit.ts';
import { resumeBatch, stopBatch, undoBatch } from '../../../src/operations/batches/acts.ts';
import { previewBatch } from '../../../src/operations/batches/preview.ts';
import { batchOf } from '../../../src/operations/batches/batch.ts';
import { stepBatches } from '../../../src/operations/batches/step.ts';
import { replayAs } from '../../../src/operations/dead-letters.ts';
import {
  addJob,
  addJobType,
  begin,
  claim,
  finish,
  jobRow,
  runningJob,
  step,
} from '../../jobs/job-steps.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { bob, deadLetters, dueNow, replaysOf, started, untilOver } from './batch-database.ts';

let test: TestDatabase;
let sql: Sql;
let acme: string;
let bolt: string;

beforeAll(async () => {
  test = await freshDatabase();
  sql = (await test.open({ systemConnections: 8 })).system;
  await addJobType(sql);
});
beforeEach(async () => {
  [acme, bolt] = [await addTenant(sql), await addTenant(sql)];
});
afterEach(async () => {
  await sql`delete from pauses`;
  await sql`delete from tenants`;
  await sql`delete from purser.batches`;
});
afterAll(() => test.close());

const order = { reason: 'fixed' };
const listedIds = async (): Promise<string[]> =>
  (await listDeadLetters(sql, { limit: 1_000 })).map(({ jobId }) => jobId).toSorted();
const stateOf = async (jobId: string): Promise<string> => (await jobRow(sql, jobId)).state;

describe('stop, resume and undo', () => {
  it('a stopped batch executes nothing until it is resumed, and each act is on record once', async () => {
    await deadLetters(sql, acme, 5);
    const batchId = await started(sql, 'replay', { tenantId: acme }, 1);
    await stepBatches(sql);
    expect(await stopBatch(sql, bob, { batchId, ...order })).toMatchObject({ state: 'stopped' });
    await stopBatch(sql, bob, { batchId, reason: 'again' });
    await dueNow(sql);
    expect(await stepBatches(sql)).toEqual({ changed: 0, isActive: false });
    expect(await batchOf(sql, batchId)).toMatchObject({ state: 'stopped', done: 1, waiting: 4 });
    await resumeBatch(sql, bob, { batchId, perSecond: 500, ...order });
    expect(await untilOver(sql, batchId)).toMatchObject({ state: 'completed', perSecond: 500 });
    const acts = await listActs(sql, { tenantId: acme, limit: 10 });
    expect(acts.map(({ act, name }) => [act, name]).toReversed()).toEqual([
      ['batch_preview', 'alice'],
      ['batch_start', 'alice'],
      ['batch_stop', 'bob'],
      ['batch_resume', 'bob'],
      ['batch_end', 'alice'],
    ]);
    expect(acts[0]).toMatchObject({
      affected: 5,
      target: { batchId, act: 'replay', filter: { tenantId: acme } },
      after: { state: 'completed', members: 5, done: 5, skipped: 0, undone: 0 },
    });
    expect(acts[0]?.jobIds).toHaveLength(5);
  });

  it('an undone replay frees and lists what has not begun; it can be replayed again, what has begun goes on', async () => {
    const ids = await deadLetters(sql, acme, 5);
    const before = await sql`
      select job_id, job_type, attempt, error_code, fingerprint, ended_by, words from purser.dead_letters order by job_id`;
    const batchId = await started(sql, 'replay', { tenantId: acme });
    await dueNow(sql);
    await stepBatches(sql);
    const replays = await replaysOf(sql, ids);
    expect(replays.size).toBe(5);
    const [queued, running, handedBack, parked] = ids.map((id) => replays.get(id) ?? '');
    // The fifth waits.
    const jobs = new Map((await claim(sql, 4)).map((job) => [job.jobId, job]));
    const beginJob = (jobId = '') => {
      const job = jobs.get(jobId);
      if (job === undefined) throw new Error('the job was not claimed');
      return begin(sql, job);
    };
    await beginJob(running);
    await finish(sql, await beginJob(parked), {
      toState: 'parked',
      countsAttempt: false,
      neededUsd: '1',
    });
    await finish(sql, await beginJob(handedBack), {
      toState: 'pending',
      countsAttempt: false,
      afterMs: 0,
    });
    expect(await undoBatch(sql, bob, { batchId, reason: 'wrong' })).toMatchObject({
      state: 'undoing',
    });
    const batch = await untilOver(sql, batchId);
    expect(batch).toMatchObject({ state: 'undone', done: 3, undone: 2, by: 'bob' });
    expect(batch.reasons).toEqual([{ why: 'begun', members: 3 }]);
    const [first = '', second = '', third = '', fourth = '', fifth = ''] = ids;
    expect(await listedIds()).toEqual([first, fifth].toSorted());
    expect([...(await replaysOf(sql, ids)).keys()].toSorted()).toEqual(
      [second, third, fourth].toSorted(),
    );
    expect(await stateOf(queued ?? '')).toBe('cancelled');
    const after = await sql`
      select job_id, job_type, attempt, error_code, fingerprint, ended_by, words from purser.dead_letters order by job_id`;
    expect(after).toEqual(before.filter(({ job_id: id }) => [first, fifth].includes(String(id))));
    const again = await started(sql, 'replay', { tenantId: acme });
    expect(await untilOver(sql, again)).toMatchObject({ members: 2, done: 2 });
    const [newest] = await listActs(sql, { act: 'batch_end', jobId: fifth, limit: 5 });
    expect(newest).toMatchObject({ name: 'alice', after: { state: 'completed' } });
    const ends = await listActs(sql, { act: 'batch_end', jobId: first, limit: 5 });
    expect(ends.map(({ name, affected }) => [name, affected])).toEqual([
      ['alice', 2],
      ['bob', 2],
      ['alice', 5],
    ]);
  });

  it('an undo in the middle releases what was not executed', async () => {
    const ids = await deadLetters(sql, acme, 5);
    const batchId = await started(sql, 'replay', {}, 1);
    await stepBatches(sql);
    await undoBatch(sql, bob, { batchId, ...order });
    expect(await untilOver(sql, batchId)).toMatchObject({ state: 'undone', undone: 5, done: 0 });
    expect(await listedIds()).toEqual(ids.toSorted());
    await undoBatch(sql, bob, { batchId, ...order }).then(
      () => expect.unreachable(),
      (error: unknown) => expect(error).toMatchObject({ code: 'batch_state', status: 409 }),
    );
  });

  it('an undone discard lists its dead letters again', async () => {
    const ids = await deadLetters(sql, acme, 3);
    const before = await sql`
      select job_id, fingerprint, ended_by, words, error_code from purser.dead_letters order by 1`;
    const batchId = await started(sql, 'discard', { tenantId: acme });
    expect(await untilOver(sql, batchId)).toMatchObject({ state: 'completed', done: 3 });
    expect(await listedIds()).toEqual([]);
    expect((await jobRow(sql, ids[0] ?? '')).state_detail).toMatchObject({
      discarded: { by: 'alice', reason: 'fixed', batch: batchId, source: 'cli' },
    });
    await undoBatch(sql, bob, { batchId, ...order });
    expect(await untilOver(sql, batchId)).toMatchObject({ state: 'undone', undone: 3 });
    expect(await listedIds()).toEqual(ids.toSorted());
    expect(
      await sql`select job_id, fingerprint, ended_by, words, error_code from purser.dead_letters order by 1`,
    ).toEqual(before);
    expect((await replayAs(sql, bob, { jobId: ids[0] ?? '' })).created).toBe(true);
  });
});

describe('a cancel', () => {
  it('ends what waits in whatever state, asks for what runs, and skips what has ended', async () => {
    const waiting = await addJob(sql, acme);
    const later = await addJob(sql, acme, { runAt: new Date(Date.now() + 3_600_000) });
    const parked = await runningJob(sql, acme);
    await finish(sql, parked, { toState: 'parked', neededUsd: '1', countsAttempt: false });
    const running = await runningJob(sql, acme);
    const ending = await runningJob(sql, acme);
    const other = await addJob(sql, bolt);
    const batchId = await started(sql, 'cancel', { tenantId: acme });
    await finish(sql, ending);
    const batch = await untilOver(sql, batchId);
    expect(batch).toMatchObject({ state: 'completed', members: 5, done: 4, skipped: 1 });
    expect(batch.reasons).toEqual([
      { why: 'ended', members: 1 },
      { why: 'requested', members: 1 },
    ]);
    const states = await Promise.all(
      [waiting, later, parked.jobId, running.jobId, ending.jobId, other].map(stateOf),
    );
    expect(states).toEqual([
      'cancelled',
      'cancelled',
      'cancelled',
      'running',
      'completed',
      'pending',
    ]);
    await finish(sql, running, {
      toState: 'failed',
      error: { code: 'x', message: 'x' },
      afterMs: 0,
    });
    expect(await stateOf(running.jobId)).toBe('cancelled');
  });

  it('takes every field of the filter of lists', async () => {
    const attempt = await runningJob(sql, acme, { group: 'user:1', dedupKey: 'k' });
    await finish(sql, attempt, {
      toState: 'failed',
      error: { code: 'boom', message: 'it broke' },
      afterMs: 0,
    });
    await addJob(sql, acme, { group: 'user:1' });
    const filter = {
      tenantId: acme,
      jobType: step,
      state: 'failed',
      code: 'boom',
      since: new Date(0),
      until: new Date(Date.now() + 86_400_000),
      attempt: 1,
      plan: 'free',
      group: 'user:1',
      dedupKey: 'k',
      jobId: attempt.jobId,
    } as const;
    const { jobs } = await previewBatch(sql, bob, { act: 'cancel', filter });
    expect(jobs).toBe(1);
    const { jobs: none } = await previewBatch(sql, bob, {
      act: 'cancel',
      filter: { ...filter, text: 'nothing' },
    });
    expect(none).toBe(0);
  });
});
