/** The typed client: your own transaction, on either driver, decides whether a job exists. */
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { defineHandler } from '../../src/handlers/define.ts';
import { toJobType } from '../../src/handlers/job-types.ts';
import { enqueue, enqueueMany } from '../../src/index.ts';
import type { JobContext } from '../../src/index.ts';
import { registerJobTypes } from '../../src/jobs/registration.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

const report = defineHandler({
  type: 'report',
  timeoutMs: 1_000,
  maxAttempts: 3,
  payload: z.object({ month: z.string().regex(/^\d{4}-\d{2}$/), pages: z.coerce.number() }),
  run: async (ctx) => {
    expectTypeOf(ctx).toEqualTypeOf<JobContext<{ month: string; pages: number }>>();
    await Promise.resolve();
  },
});
const ping = defineHandler({
  type: 'ping',
  timeoutMs: 1_000,
  maxAttempts: 3,
  payload: z.object({ note: z.string().default('') }),
  run: () => Promise.resolve(),
});

let database: TestDatabase;
let pgClient: Client;
beforeAll(async () => {
  database = await freshDatabase();
  await registerJobTypes(database.sql, [report, ping].map(toJobType));
  await database.sql`insert into tenants (id) values ('acme'), ('other')`;
  pgClient = new Client({ connectionString: database.url });
  await pgClient.connect();
});
afterAll(async () => {
  await pgClient.end();
  await database.close();
});
beforeEach(async () => {
  await database.sql`delete from background_jobs`;
  await database.sql`delete from job_keys`;
});

const payload = { month: '2026-09', pages: '3' };
const countJobs = async (): Promise<number> => {
  const [row] = await database.sql<{ count: number }[]>`
    select count(*)::int as count from background_jobs`;
  return row?.count ?? -1;
};

describe('enqueue in the caller’s own transaction', () => {
  test('postgres.js: a job exists if and only if the transaction commits', async () => {
    await expect(
      database.sql.begin(async (tx) => {
        await enqueue(tx, report, { tenantId: 'acme', payload });
        throw new Error('an error after the enqueue');
      }),
    ).rejects.toThrow('an error after the enqueue');
    expect(await countJobs()).toBe(0);
    await database.sql.begin((tx) => enqueue(tx, report, { tenantId: 'acme', payload }));
    expect(await countJobs()).toBe(1);
  });

  test('pg: the same', async () => {
    await pgClient.query('begin');
    await enqueue(pgClient, report, { tenantId: 'acme', payload });
    await pgClient.query('rollback');
    expect(await countJobs()).toBe(0);
    await pgClient.query('begin');
    const made = await enqueue(pgClient, report, { tenantId: 'acme', payload });
    await pgClient.query('commit');
    expect(made).toEqual({ jobId: expect.stringMatching(/^\d+$/), created: true, replaced: false });
    expect(await countJobs()).toBe(1);
  });

  test('the payload is stored as given, with the options', async () => {
    const runAt = new Date('2031-01-02T03:04:05.678Z');
    await enqueue(pgClient, report, { tenantId: 'acme', payload, runAt, priority: -7 });
    const [row] = await database.sql`select payload, scheduled_for, priority from background_jobs`;
    expect(row).toEqual({ payload, scheduled_for: runAt, priority: -7 });
  });

  test('a payload that does not fit is refused before anything is written, naming the field', async () => {
    await expect(
      enqueue(database.sql, report, { tenantId: 'acme', payload: { month: 'May', pages: 1 } }),
    ).rejects.toMatchObject({
      code: 'invalid_payload',
      message: expect.stringContaining('month'),
    });
    expect(await countJobs()).toBe(0);
  });

  test('types: the payload is the handler’s, and optional where it may be empty', () => {
    // Compiled, never called: what must not compile is marked.
    const typed = async (): Promise<void> => {
      await enqueue(database.sql, ping, { tenantId: 'acme' });
      // @ts-expect-error the payload of report is required
      await enqueue(database.sql, report, { tenantId: 'acme' });
      // @ts-expect-error month is a string
      await enqueue(database.sql, report, { tenantId: 'acme', payload: { month: 9, pages: 1 } });
      await enqueue(database.sql, 'anything', { tenantId: 'acme', payload: { free: true } });
    };
    expect(typed).toBeTypeOf('function');
  });
});

describe('a dedup key', () => {
  const request = { tenantId: 'acme', payload, dedupKey: 'september' };

  test('is ignored while taken, by default', async () => {
    const first = await enqueue(database.sql, report, request);
    const second = await enqueue(database.sql, report, request);
    expect(second).toMatchObject({ jobId: first.jobId, created: false, replaced: false });
  });

  test('replaces the payload of a job that waits, and leaves one that does not', async () => {
    const first = await enqueue(database.sql, report, request);
    const changed = { month: '2026-10', pages: 9 };
    const replace = { ...request, payload: changed, onDuplicate: 'replace' as const, priority: 4 };
    expect(await enqueue(database.sql, report, replace)).toMatchObject({
      jobId: first.jobId,
      created: false,
      replaced: true,
    });
    const [row] = await database.sql`select payload, priority from background_jobs`;
    expect(row).toEqual({ payload: changed, priority: 4 });
    await database.sql`update background_jobs set state = 'queued'`;
    const late = await enqueue(database.sql, report, { ...replace, payload });
    expect(late).toMatchObject({ created: false, replaced: false });
    const [kept] = await database.sql`select payload from background_jobs`;
    expect(kept).toEqual({ payload: changed });
  });

  test('is rejected with its name when requested', async () => {
    const { jobId } = await enqueue(database.sql, report, request);
    await expect(
      enqueue(database.sql, report, { ...request, onDuplicate: 'reject' }),
    ).rejects.toMatchObject({ code: 'duplicate_job', message: expect.stringContaining(jobId) });
  });

  test('is free again after its window, once its job has ended', async () => {
    const short = { ...request, dedupWindowMs: 0 };
    const first = await enqueue(database.sql, report, short);
    expect(await enqueue(database.sql, report, short)).toMatchObject({ created: false });
    await database.sql`update background_jobs set state = 'cancelled', finished_at = now()`;
    const second = await enqueue(database.sql, report, short);
    expect(second.created).toBe(true);
    expect(second.jobId).not.toBe(first.jobId);
  });

  test('belongs to one tenant and one type', async () => {
    await enqueue(database.sql, report, request);
    expect(await enqueue(database.sql, report, { ...request, tenantId: 'other' })).toMatchObject({
      created: true,
    });
    expect(
      await enqueue(database.sql, ping, { tenantId: 'acme', dedupKey: 'september' }),
    ).toMatchObject({ created: true });
  });
});

describe('enqueueMany', () => {
  test('returns results in order; a key repeated in the list is one job', async () => {
    const answers = await enqueueMany(pgClient, report, [
      { tenantId: 'acme', payload },
      { tenantId: 'acme', payload, dedupKey: 'x' },
      { tenantId: 'acme', payload: { ...payload, pages: 4 }, dedupKey: 'x' },
      { tenantId: 'other', payload, dedupKey: 'x' },
    ]);
    expect(answers.map(({ created }) => created)).toEqual([true, true, false, true]);
    expect(answers[2]?.jobId).toBe(answers[1]?.jobId);
    expect(await countJobs()).toBe(3);
  });

  test('enqueues all or none, and names the request with the fault', async () => {
    await expect(
      enqueueMany(database.sql, report, [
        { tenantId: 'acme', payload },
        { tenantId: 'nobody', payload },
      ]),
    ).rejects.toMatchObject({
      code: 'unknown_tenant',
      message: expect.stringContaining('request 2'),
    });
    expect(await countJobs()).toBe(0);
  });

  test('accepts ten thousand jobs and refuses more', async () => {
    const many = (count: number) => Array.from({ length: count }, () => ({ tenantId: 'acme' }));
    const answers = await enqueueMany(database.sql, ping, many(10_000));
    const ids = answers.map(({ jobId }) => Number(jobId));
    expect(new Set(ids).size).toBe(10_000);
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
    await expect(enqueueMany(database.sql, ping, many(10_001))).rejects.toMatchObject({
      code: 'invalid_request',
    });
    expect(await enqueueMany(database.sql, ping, [])).toEqual([]);
    // The next test deletes them, by plans that sessions keep from when the tables were empty.
    await database.sql`analyze`;
  });

  test('concurrent callers with the same keys create each job once, without deadlock', async () => {
    const keys = Array.from({ length: 50 }, (_, index) => `key ${index}`);
    const callers = Array.from({ length: 8 }, (_, caller) =>
      enqueueMany(
        database.sql,
        ping,
        (caller % 2 === 0 ? keys : keys.toReversed()).map((dedupKey) => ({
          tenantId: 'acme',
          dedupKey,
        })),
      ),
    );
    const answers = (await Promise.all(callers)).flat();
    expect(answers.filter(({ created }) => created)).toHaveLength(50);
    expect(await countJobs()).toBe(50);
  });
});
