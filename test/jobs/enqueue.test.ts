import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { enqueue } from '../../src/jobs/enqueue.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { addJob, addJobType, begin, claim, finish, jobRow, runningJob, step } from './job-steps.ts';

let test: TestDatabase;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
  tenantId = await addTenant(test.sql);
});
afterAll(() => test.close());

/** Pretends that the key's window ended. */
async function expireKey(dedupKey: string): Promise<void> {
  const { count } = await test.sql`
    update job_keys set expires_at = now() - interval '1 second' where dedup_key = ${dedupKey}`;
  expect(count).toBe(1);
}

describe('a dedup key', () => {
  it('is taken until its job has ended, also after its window', async () => {
    const first = await enqueue(test.sql, { tenantId, jobType: step, dedupKey: 'live' });
    expect(first.created).toBe(true);
    expect(await enqueue(test.sql, { tenantId, jobType: step, dedupKey: 'live' })).toMatchObject({
      jobId: first.jobId,
      created: false,
    });
    await expireKey('live');
    expect((await enqueue(test.sql, { tenantId, jobType: step, dedupKey: 'live' })).created).toBe(
      false,
    );
  });

  it('is taken after its job ended until its window ends, then given to a new job', async () => {
    const attempt = await runningJob(test.sql, tenantId, { dedupKey: 'windowed' });
    await finish(test.sql, attempt);
    expect(
      await enqueue(test.sql, { tenantId, jobType: step, dedupKey: 'windowed' }),
    ).toMatchObject({
      jobId: attempt.jobId,
      created: false,
    });
    await expireKey('windowed');
    const next = await enqueue(test.sql, { tenantId, jobType: step, dedupKey: 'windowed' });
    expect(next.created).toBe(true);
    expect(next.jobId).not.toBe(attempt.jobId);
  });

  it('makes one job for 20 concurrent callers, and all of them get its id', async () => {
    const pools = await Promise.all(Array.from({ length: 5 }, () => test.open()));
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => {
        const pool = pools[index % pools.length];
        if (pool === undefined) throw new Error('no pool');
        return enqueue(pool.system, { tenantId, jobType: step, dedupKey: 'race' });
      }),
    );
    expect(answers.filter(({ created }) => created)).toHaveLength(1);
    expect(new Set(answers.map(({ jobId }) => jobId)).size).toBe(1);
    const [count] = await test.sql`
      select count(*)::int as n from background_jobs where dedup_key = 'race'`;
    expect(count?.['n']).toBe(1);
  });

  it('is unique per tenant and type only', async () => {
    const other = await addTenant(test.sql);
    await addJobType(test.sql, 'test_other');
    const requests = [
      { tenantId, jobType: step },
      { tenantId: other, jobType: step },
      { tenantId, jobType: 'test_other' },
    ];
    for (const request of requests) {
      expect((await enqueue(test.sql, { ...request, dedupKey: 'same' })).created).toBe(true);
    }
  });

  it('that expired is given to exactly one of ten callers', async () => {
    const attempt = await runningJob(test.sql, tenantId, { dedupKey: 'again' });
    await finish(test.sql, attempt);
    await expireKey('again');
    const answers = await Promise.all(
      Array.from({ length: 10 }, () =>
        enqueue(test.sql, { tenantId, jobType: step, dedupKey: 'again' }),
      ),
    );
    expect(answers.filter(({ created }) => created)).toHaveLength(1);
    expect(new Set(answers.map(({ jobId }) => jobId)).size).toBe(1);
  });
});

it('a rolled back transaction of the caller leaves neither job nor key nor event', async () => {
  const seen: string[] = [];
  await expect(
    test.sql.begin(async (tx) => {
      seen.push(await addJob(tx, tenantId, { dedupKey: 'rolled back' }));
      throw new Error('the caller changed its mind');
    }),
  ).rejects.toThrow('changed its mind');
  const [left] = await test.sql`
    select (select count(*) from background_jobs where id = any(${seen}::bigint[]))
         + (select count(*) from job_events where job_id = any(${seen}::bigint[]))
         + (select count(*) from job_keys where dedup_key = 'rolled back') as n`;
  expect(left?.['n']).toBe('0');
  expect((await enqueue(test.sql, { tenantId, jobType: step, dedupKey: 'rolled back' })).created) //
    .toBe(true);
});

describe('an invalid request is refused with its error code', () => {
  const circular: Record<string, unknown> = {};
  circular['self'] = circular;
  it.each([
    ['an unknown tenant', { tenantId: 'nobody' }, 'unknown_tenant'],
    ['an unknown type', { jobType: 'nothing' }, 'unknown_job_type'],
    ['an array', { payload: [1, 2] }, 'invalid_payload'],
    ['a date', { payload: new Date(0) }, 'invalid_payload'],
    ['more than 1 MiB', { payload: { text: 'x'.repeat(1_048_577) } }, 'payload_too_large'],
    ['NUL in a value', { payload: { a: ['x\u0000y'] } }, 'invalid_payload'],
    ['NUL in a key', { payload: { 'x\u0000': 1 } }, 'invalid_payload'],
    ['half a surrogate pair in a value', { payload: { a: '\uD83D' } }, 'invalid_payload'],
    ['half a surrogate pair in a key', { payload: { '\uDE00': 1 } }, 'invalid_payload'],
    ['a circle', { payload: circular }, 'invalid_payload'],
    ['a BigInt', { payload: { n: 1n } }, 'invalid_payload'],
    [
      'NaN, which JSON makes null',
      { payload: { costs: [{ usd: Number.NaN }] } },
      'invalid_payload',
    ],
    ['Infinity', { payload: { n: Number.POSITIVE_INFINITY } }, 'invalid_payload'],
    ['NUL in the dedup key', { dedupKey: 'a\u0000' }, 'invalid_payload'],
    ['an empty dedup key', { dedupKey: '' }, 'invalid_request'],
    ['a dedup key of 501 characters', { dedupKey: 'k'.repeat(501) }, 'invalid_request'],
    ['a priority out of range', { priority: 1001 }, 'invalid_request'],
    ['a priority that is no whole number', { priority: 0.5 }, 'invalid_request'],
    ['a time that is none', { runAt: new Date(Number.NaN) }, 'invalid_request'],
    ['a time that Postgres cannot read', { runAt: new Date(8.64e15) }, 'invalid_request'],
    ['a window that is no number', { dedupKey: 'w', dedupWindowMs: Number.NaN }, 'invalid_request'],
    ['a window of less than nothing', { dedupKey: 'w', dedupWindowMs: -1 }, 'invalid_request'],
    ['an endless window', { dedupKey: 'w', dedupWindowMs: Infinity }, 'invalid_request'],
  ])('%s', async (_what, request, code) => {
    const [before] = await test.sql`select count(*)::int as n from background_jobs`;
    await expect(addJob(test.sql, tenantId, request)).rejects.toMatchObject({ code });
    const [after] = await test.sql`select count(*)::int as n from background_jobs`;
    expect(after).toEqual(before);
  });

  it('a key named __proto__ is kept', async () => {
    const payload: object = JSON.parse('{"__proto__": {"admin": true}, "a": 1}');
    const row = await jobRow(test.sql, await addJob(test.sql, tenantId, { payload }));
    expect(JSON.stringify(row.payload)).toBe('{"a":1,"__proto__":{"admin":true}}');
    expect(Object.getPrototypeOf(row.payload)).toBe(Object.prototype);
  });

  it('text that looks like an escape sequence is kept', async () => {
    const payload = { path: String.raw`C:\u0000` };
    expect((await jobRow(test.sql, await addJob(test.sql, tenantId, { payload }))).payload) //
      .toEqual(payload);
  });
});

describe('purser.enqueue in SQL refuses with an error code', () => {
  it.each([
    ['a priority out of range', `p_priority => 5000`, 'the priority must be'],
    ['an empty dedup key', `p_dedup_key => ''`, 'the dedup key must have'],
    ['a dedup key without end', `p_dedup_key => repeat('k', 501)`, 'it has 501'],
    ['a time that never comes', `p_run_at => 'infinity'`, 'before the year 9999'],
    ['a window before it began', `p_dedup_window => '-5 minutes'`, 'the dedup window must be'],
  ])('%s', async (_what, argument, words) => {
    const asked = test.sql.unsafe(`select purser.enqueue($1, $2, ${argument})`, [tenantId, step]);
    await expect(asked).rejects.toMatchObject({
      code: 'PU010',
      message: expect.stringContaining(words),
    });
  });

  it.each([
    ['requests that are no list', '{}', 'must be a JSON array'],
    [
      'one of many, with its place',
      JSON.stringify(
        [{ priority: 1 }, { priority: 5000 }].map((each) => ({
          ...each,
          tenantId: '',
          jobType: step,
        })),
      ),
      'request 2: the priority must be',
    ],
  ])('%s', async (_what, requests, words) => {
    const own = requests.replaceAll('"tenantId":""', `"tenantId":${JSON.stringify(tenantId)}`);
    await expect(test.sql`select purser.enqueue_many(${own}::text::jsonb)`).rejects.toMatchObject({
      code: 'PU010',
      message: expect.stringContaining(words),
    });
  });
});

it('a job waits until runAt, and giveUpAfter is counted from then', async () => {
  const runAt = new Date(Date.now() + 3_600_000);
  const later = await addJob(test.sql, tenantId, { runAt });
  const now = await addJob(test.sql, tenantId);
  const claimed = (await claim(test.sql)).map(({ jobId }) => jobId);
  expect(claimed).toContain(now);
  expect(claimed).not.toContain(later);
  const row = await jobRow(test.sql, later);
  expect(row.give_up_at.getTime() - runAt.getTime()).toBe(86_400_000);
});

it('a job that was never dispatched cannot begin', async () => {
  const jobId = await addJob(test.sql, tenantId);
  await expect(begin(test.sql, { jobId, entryId: randomUUID() })).rejects.toThrow('did not begin');
});
