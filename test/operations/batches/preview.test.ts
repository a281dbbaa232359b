/** A preview of a batch changes no job, and refuses what it cannot take. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import { enqueue } from '../../../src/jobs/enqueue.ts';
import { listDeadLetters } from '../../../src/jobs/dead-letters.ts';
import { listActs } from '../../../src/operations/audit.ts';
import { startBatch, stopBatch } from '../../../src/operations/batches/acts.ts';
import { batchOf, listBatches } from '../../../src/operations/batches/batch.ts';
import { previewBatch } from '../../../src/operations/batches/preview.ts';
import { removeExpiredPreviews, stepBatches } from '../../../src/operations/batches/step.ts';
import { addJobType, step } from '../../jobs/job-steps.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { alice, deadLetter, deadLetters, dueNow } from './batch-database.ts';

let test: TestDatabase;
let sql: Sql;
let acme: string;

beforeAll(async () => {
  test = await freshDatabase();
  sql = (await test.open({ systemConnections: 8 })).system;
  await addJobType(sql);
});
beforeEach(async () => {
  acme = await addTenant(sql);
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

describe('a preview', () => {
  it('that is not started changes nothing, expires, and is removed with its members', async () => {
    const [id = ''] = await deadLetters(sql, acme, 1);
    const { batchId } = await previewBatch(sql, alice, { act: 'replay', filter: {} });
    await dueNow(sql);
    expect(await stepBatches(sql)).toEqual({ changed: 0, isActive: false });
    expect(await removeExpiredPreviews(sql)).toBe(0);
    await sql`update purser.batches set expires_at = now() - interval '1 second'`;
    await expect(startBatch(sql, alice, { batchId, perSecond: 1, ...order })).rejects.toMatchObject(
      { code: 'preview_expired' },
    );
    expect(await removeExpiredPreviews(sql)).toBe(1);
    expect(await sql`select from purser.batch_members`).toHaveLength(0);
    await expect(batchOf(sql, batchId)).rejects.toMatchObject({ code: 'unknown_batch' });
    expect(await listedIds()).toEqual([id]);
  });

  it('with a limit takes the oldest jobs of its filter, and says that there are more', async () => {
    const ids = await deadLetters(sql, acme, 4);
    const oldest = ids.toSorted((a, b) => Number(a) - Number(b)).slice(0, 2);
    const request = { act: 'replay', filter: { tenantId: acme } } as const;
    const two = await previewBatch(sql, alice, { ...request, limit: 2 });
    expect(two).toMatchObject({ jobs: 2, isCut: true });
    const members = await sql<{ id: string }[]>`
      select job_id as id from purser.batch_members where batch_id = ${two.batchId} order by job_id`;
    expect(members.map(({ id }) => id)).toEqual(oldest);
    const all = await previewBatch(sql, alice, { ...request, limit: 4 });
    expect(all).toMatchObject({ jobs: 4, isCut: false });
    for (const limit of [0, -1, 1.5, Number.NaN, 100_001]) {
      await expect(previewBatch(sql, alice, { ...request, limit })).rejects.toThrow(
        'the limit must be a whole number from 1 to 100000 jobs',
      );
    }
  });

  it('names on record that words were given, but not which', async () => {
    const filter = { text: 'canary', code: 'boom' };
    await previewBatch(sql, alice, { act: 'replay', filter, limit: 7 });
    const [act] = await listActs(sql, { act: 'batch_preview', limit: 1 });
    expect(act).toMatchObject({
      target: { filter: { text: true, code: 'boom' }, limit: 7 },
      affected: 0,
    });
    expect(JSON.stringify(act)).not.toContain('canary');
    const [batch] = await listBatches(sql, { limit: 1 });
    expect(batch?.filter).toEqual({ text: 'canary', code: 'boom' });
  });

  it('refuses what it cannot take, and says what it takes', async () => {
    const tries: [unknown, string][] = [
      [{ act: 'delete', filter: {} }, 'the act must be one of replay, discard, cancel'],
      [
        { act: 'replay', filter: { state: 'running' } },
        'replay takes jobs in state dead_letter or',
      ],
      [
        { act: 'discard', filter: { state: 'cancelled' } },
        'discard takes jobs in state dead_letter',
      ],
      [{ act: 'cancel', filter: { state: 'completed' } }, 'cancel takes jobs in state pending or'],
      [{ act: 'replay', filter: { tenantId: 'nobody' } }, 'there is no tenant "nobody"'],
      [{ act: 'replay', filter: { jobType: 'nothing' } }, 'nothing'],
      [{ act: 'replay', filter: { tennant: 'a' } }, 'the filter has no option "tennant"'],
      [{ act: 'replay', filter: { code: '' } }, 'code must be a text of 1 to 1000 characters'],
      [{ act: 'replay', filter: { code: 'a\0' } }, 'code contains a NUL character'],
      [{ act: 'replay', filter: { code: 5 } }, 'code must be a text'],
      [{ act: 'replay', filter: { jobId: '-1' } }, 'jobId must be a job id'],
      [{ act: 'replay', filter: { attempt: -1 } }, 'attempt must be a whole number'],
      [{ act: 'replay', filter: { since: new Date('x') } }, 'since must be a date'],
      [{ act: 'replay', filter: {}, reason: '' }, 'the reason must be a text'],
    ];
    for (const [request, text] of tries) {
      const given = request as Parameters<typeof previewBatch>[2];
      await expect(previewBatch(sql, alice, given)).rejects.toThrow(text);
    }
    expect(await listBatches(sql, { limit: 10 })).toEqual([]);
    const { batchId } = await previewBatch(sql, alice, { act: 'replay', filter: {} });
    const start = { batchId, perSecond: 1, reason: 'x' };
    for (const [changes, text] of [
      [{}, `batch ${batchId} has no jobs`],
      [{ perSecond: 0 }, 'the pace must be a whole number from 1 to 1000'],
      [{ perSecond: 1.5 }, 'the pace must be'],
      [{ perSecond: Number.NaN }, 'the pace must be'],
      [{ reason: 'a'.repeat(501) }, 'the reason must be'],
      [{ batchId: 'x' }, 'a batch id is a whole number, not "x"'],
      [{ batchId: '9999' }, 'there is no batch 9999'],
    ] as const) {
      await expect(startBatch(sql, alice, { ...start, ...changes })).rejects.toThrow(text);
    }
    await expect(stopBatch(sql, alice, { batchId, reason: 'x' })).rejects.toThrow(
      `batch ${batchId} is previewed; stop takes one that is running`,
    );
  });

  it('is listed newest first, by pages', async () => {
    await deadLetters(sql, acme, 1);
    const ids: string[] = [];
    for (let made = 0; made < 3; made += 1) {
      ids.unshift((await previewBatch(sql, alice, { act: 'replay', filter: {} })).batchId);
    }
    const page = await listBatches(sql, { limit: 2 });
    expect(page.map(({ batchId }) => batchId)).toEqual(ids.slice(0, 2));
    const rest = await listBatches(sql, { limit: 2, beforeId: ids[1] });
    expect(rest.map(({ batchId }) => batchId)).toEqual(ids.slice(2));
    await expect(listBatches(sql, { limit: 2, beforeId: 'x' })).rejects.toMatchObject({
      code: 'invalid_cursor',
    });
  });
});

it('a new dead letter of another kind is not taken by the filter of a batch', async () => {
  await enqueue(sql, { tenantId: acme, jobType: step });
  const other = await deadLetter(sql, acme, 'other');
  const { jobs } = await previewBatch(sql, alice, { act: 'replay', filter: { code: 'boom' } });
  expect(jobs).toBe(0);
  expect(await listedIds()).toEqual([other]);
});
