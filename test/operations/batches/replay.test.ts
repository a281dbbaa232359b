/** A batch replays what its preview took, once, at its pace, whatever happens to the jobs meanwhile. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import { listDeadLetters } from '../../../src/jobs/dead-letters.ts';
import { addPause } from '../../../src/jobs/pauses.ts';
import { undoBatch } from '../../../src/operations/batches/acts.ts';
import { batchOf } from '../../../src/operations/batches/batch.ts';
import { previewBatch } from '../../../src/operations/batches/preview.ts';
import { stepBatches } from '../../../src/operations/batches/step.ts';
import { cancelAs } from '../../../src/operations/cancel.ts';
import { discardAs, replayAs } from '../../../src/operations/dead-letters.ts';
import { addJob, addJobType, begin, claim, finish, jobRow, step } from '../../jobs/job-steps.ts';
import { fatal } from '../../jobs/failures/ends.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import {
  alice,
  bob,
  deadLetter,
  deadLetters,
  dueNow,
  replaysOf,
  started,
  untilOver,
} from './batch-database.ts';

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

describe('a replay', () => {
  it('brings back each dead letter of its preview once, and ends although all of them fail again', async () => {
    const ids = await deadLetters(sql, acme, 3);
    const others = await deadLetters(sql, bolt, 1);
    const batchId = await started(sql, 'replay', { tenantId: acme });
    // Listed after the preview, so that it is not a member.
    const after = await deadLetter(sql, acme);
    await dueNow(sql);
    await stepBatches(sql);
    for (const job of await claim(sql)) {
      await finish(sql, await begin(sql, job), fatal('again', 'it broke again'));
    }
    const batch = await untilOver(sql, batchId);
    expect(batch).toMatchObject({
      state: 'completed',
      members: 3,
      done: 3,
      skipped: 0,
      waiting: 0,
    });
    const replays = await replaysOf(sql, ids);
    expect([...replays.keys()].toSorted()).toEqual(ids.toSorted());
    expect(await listedIds()).toEqual([...others, after, ...replays.values()].toSorted());
    const replay = await jobRow(sql, replays.get(ids[0] ?? '') ?? '');
    expect(replay.attempt).toBe(1);
    const [origin] = await sql`
      select origin from jobs where id = ${replays.get(ids[0] ?? '') ?? ''}`;
    expect(origin).toEqual({
      origin: { replay_of: ids[0], by: 'alice', source: 'cli', batch: batchId },
    });
  });

  it('skips what was replayed or discarded since its preview, and says so', async () => {
    const [replayed = '', discarded = '', left = ''] = await deadLetters(sql, acme, 3);
    const batchId = await started(sql, 'replay', { tenantId: acme });
    const byHand = await replayAs(sql, bob, { jobId: replayed });
    await discardAs(sql, bob, { jobId: discarded, reason: 'known' });
    const batch = await untilOver(sql, batchId);
    expect(batch).toMatchObject({ done: 1, skipped: 2 });
    expect(batch.reasons).toEqual([
      { why: 'discarded', members: 1 },
      { why: 'replayed', members: 1 },
    ]);
    const replays = await replaysOf(sql, [replayed, discarded, left]);
    expect([...replays.keys()].toSorted()).toEqual([replayed, left].toSorted());
    expect(replays.get(replayed)).toBe(byHand.jobId);
  });

  it('two batches over the same jobs, executed at once by several schedulers, bring each back once', async () => {
    const ids = await deadLetters(sql, acme, 60);
    const batches = [
      await started(sql, 'replay', { tenantId: acme }),
      await started(sql, 'replay', { tenantId: acme }),
    ];
    for (let round = 0; round < 20; round += 1) {
      await dueNow(sql);
      await Promise.all([1, 2, 3, 4].map(() => stepBatches(sql)));
    }
    const ended = await Promise.all(batches.map((batchId) => untilOver(sql, batchId)));
    expect(ended.map(({ state }) => state)).toEqual(['completed', 'completed']);
    const [first, second] = ended;
    expect((first?.done ?? 0) + (second?.done ?? 0)).toBe(60);
    expect((first?.skipped ?? 0) + (second?.skipped ?? 0)).toBe(60);
    const [made] = await sql`
      select count(*)::int as jobs, count(distinct replay_of)::int as originals from jobs where replay_of is not null`;
    expect(made).toEqual({ jobs: 60, originals: 60 });
    expect((await replaysOf(sql, ids)).size).toBe(60);
  });

  it('takes cancelled jobs too, but not the replay that an undo has cancelled', async () => {
    const cancelled = await addJob(sql, acme);
    await cancelAs(sql, alice, { jobId: cancelled, reason: 'wrong' });
    const filter = { tenantId: acme, state: 'cancelled' } as const;
    const first = await started(sql, 'replay', filter);
    expect(await untilOver(sql, first)).toMatchObject({ done: 1, skipped: 0 });
    expect(await previewBatch(sql, alice, { act: 'replay', filter })).toMatchObject({ jobs: 0 });
    const undone = (await replaysOf(sql, [cancelled])).get(cancelled) ?? '';
    await undoBatch(sql, alice, { batchId: first, ...order });
    await untilOver(sql, first);
    expect(await stateOf(undone)).toBe('cancelled');
    // The original alone.
    expect(await previewBatch(sql, alice, { act: 'replay', filter })).toMatchObject({ jobs: 1 });
    await expect(replayAs(sql, bob, { jobId: undone })).rejects.toThrow(
      `job ${undone} is not a dead letter: it is a replay that was undone; replay job ${cancelled}`,
    );
    const single = await replayAs(sql, bob, { jobId: cancelled });
    expect(single.created).toBe(true);
  });

  it('goes on without a job that the database refuses, and says why', async () => {
    const [bad = '', good = ''] = await deadLetters(sql, acme, 2);
    // From before the field was marked as secret.
    await sql`update jobs set payload = '{"key": "plain"}' where id = ${bad}`;
    await sql`update job_types set secret_paths = ${['$."key"']} where job_type = ${step}`;
    const batchId = await started(sql, 'replay', { tenantId: acme });
    const batch = await untilOver(sql, batchId);
    await sql`update job_types set secret_paths = '{}' where job_type = ${step}`;
    expect(batch).toMatchObject({ state: 'completed', done: 1, skipped: 1 });
    expect(batch.reasons).toEqual([{ why: 'refused: SQLSTATE PU007', members: 1 }]);
    expect([...(await replaysOf(sql, [bad, good])).keys()]).toEqual([good]);
    expect(await listedIds()).toContain(bad);
  });

  it('waits for what is paused or stopped, executes the others, and goes on after the pause', async () => {
    const paused = await deadLetters(sql, acme, 2);
    const free = await deadLetters(sql, bolt, 2);
    const pause = { scope: 'tenant', name: acme, reason: 'x', by: 'alice', stops: true } as const;
    await sql.begin((tx) => addPause(tx, pause));
    const batchId = await started(sql, 'replay', {});
    for (let steps = 0; steps < 10; steps += 1) {
      await dueNow(sql);
      await stepBatches(sql);
    }
    expect(await batchOf(sql, batchId)).toMatchObject({ state: 'running', done: 2, waiting: 2 });
    expect([...(await replaysOf(sql, [...paused, ...free])).keys()].toSorted()).toEqual(
      free.toSorted(),
    );
    await sql`update pauses set scope = 'all', name = ''`;
    await sql`delete from pauses`;
    expect(await untilOver(sql, batchId)).toMatchObject({ state: 'completed', done: 4 });
  });

  it('ends although a tenant is removed in the middle, and nothing of the tenant is left', async () => {
    const gone = await deadLetters(sql, acme, 2);
    await deadLetters(sql, bolt, 2);
    const batchId = await started(sql, 'replay', {});
    await sql`delete from tenants where id = ${acme}`;
    const batch = await untilOver(sql, batchId);
    expect(batch).toMatchObject({ state: 'completed', members: 4, done: 2, skipped: 2 });
    const left = await sql`select from purser.batch_members where tenant_id = ${acme}`;
    expect(left).toHaveLength(0);
    expect((await replaysOf(sql, gone)).size).toBe(0);
  });

  it('leaves a job that another transaction has locked for later, without waiting for it', async () => {
    const [locked = '', free = ''] = await deadLetters(sql, acme, 2);
    const batchId = await started(sql, 'replay', {});
    const holder = await sql.reserve();
    try {
      await holder`begin`;
      await holder`select from jobs where id = ${locked} for update`;
      for (let steps = 0; steps < 3; steps += 1) {
        await dueNow(sql);
        await stepBatches(sql);
      }
      expect(await batchOf(sql, batchId)).toMatchObject({ state: 'running', done: 1, waiting: 1 });
      expect([...(await replaysOf(sql, [locked, free])).keys()]).toEqual([free]);
      await holder`rollback`;
    } finally {
      holder.release();
    }
    expect(await untilOver(sql, batchId)).toMatchObject({ state: 'completed', done: 2 });
  });
});

describe('the pace', () => {
  const secondsNow = async (): Promise<number> => {
    const [row] = await sql<{ at: number }[]>`
      select extract(epoch from clock_timestamp())::float8 as at`;
    return row?.at ?? 0;
  };

  it('is kept for all schedulers together, and what was not used within a quarter of a second is lost', async () => {
    await deadLetters(sql, acme, 30);
    const batchId = await started(sql, 'replay', {}, 40);
    await dueNow(sql);
    const before = await secondsNow();
    expect((await stepBatches(sql)).changed).toBe(11);
    const after = await secondsNow();
    const [row] = await sql<{ next: number }[]>`
      select extract(epoch from next_at)::float8 as next from purser.batches where id = ${batchId}`;
    // A quarter of a second ago, and eleven fortieths on.
    expect(row?.next).toBeGreaterThanOrEqual(before + 0.0249);
    expect(row?.next).toBeLessThanOrEqual(after + 0.0251);
    for (let round = 0; round < 3; round += 1) {
      await Promise.all([1, 2, 3].map(() => stepBatches(sql)));
      const { done } = await batchOf(sql, batchId);
      expect(done).toBeLessThanOrEqual(40 * ((await secondsNow()) - before + 0.25) + 1);
    }
    await sql`update purser.batches set next_at = now() + interval '1 hour'`;
    expect((await stepBatches(sql)).changed).toBe(0);
  });

  it('of one a second makes one a second', async () => {
    await deadLetters(sql, acme, 3);
    await started(sql, 'replay', {}, 1);
    await dueNow(sql);
    const before = await secondsNow();
    expect((await stepBatches(sql)).changed).toBe(1);
    const [row] = await sql<{ next: number }[]>`
      select extract(epoch from next_at)::float8 as next from purser.batches`;
    expect(row?.next).toBeGreaterThanOrEqual(before + 0.7499);
  });
});
