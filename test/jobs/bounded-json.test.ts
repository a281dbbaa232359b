/** Payloads and results are bounded in depth, size and shape at every entry point, in SQL too. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Database } from '../../src/db/database.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import { replayDeadLetter } from '../../src/jobs/dead-letters.ts';
import { enqueue, enqueueChild, enqueueMany } from '../../src/jobs/enqueue.ts';
import { storableResult } from '../../src/worker/store-value.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { addJobType, completed, finish, jobRow, runningJob, step } from './job-steps.ts';

let test: TestDatabase;
let database: Database;
let tenantId: string;
beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open();
  await addJobType(test.sql);
  tenantId = await addTenant(test.sql);
});
afterAll(() => test.close());

/** JSON text of objects (or lists) inside objects. */
const nested = (levels: number, list = false): string =>
  list
    ? `{"a":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`
    : `${'{"a":'.repeat(levels - 1)}{}${'}'.repeat(levels - 1)}`;

type Door = (json: string) => Promise<unknown>;
const parse = (json: string) => JSON.parse(json) as object;
const childOf = async () => {
  const { token } = await runningJob(test.sql, tenantId);
  return tenantSql(database.tenant, { token });
};
const doors: Record<string, Door> = {
  enqueue: (json) => enqueue(database.system, { tenantId, jobType: step, payload: parse(json) }),
  enqueueMany: (json) =>
    enqueueMany(database.system, [{ tenantId, jobType: step, payload: parse(json) }]),
  'enqueue with replace': async (json) => {
    const request = { tenantId, jobType: step, dedupKey: json.slice(0, 400) } as const;
    await enqueue(database.system, request);
    return enqueue(database.system, { ...request, payload: parse(json), onDuplicate: 'replace' });
  },
  'ctx.enqueue': async (json) =>
    enqueueChild(await childOf(), { jobType: step, payload: parse(json) }),
  'purser.enqueue in SQL': (json) =>
    database.system`select purser.enqueue(${tenantId}, ${step}, ${json}::text::jsonb)`,
  'purser.enqueue_many in SQL': (json) =>
    database.system`select purser.enqueue_many(jsonb_build_array(jsonb_build_object(
      'tenantId', ${tenantId}::text, 'jobType', ${step}::text, 'payload', ${json}::text::jsonb)))`,
  'purser.enqueue_child in SQL': async (json) => {
    const sql = await childOf();
    return sql`select purser.enqueue_child(${step}, ${json}::text::jsonb)`;
  },
  'an insert': (json) =>
    test.sql`
      insert into background_jobs (tenant_id, job_type, payload, max_attempts, give_up_at)
      values (${tenantId}, ${step}, ${json}::text::jsonb, 1, now())`,
  'an update': async (json) => {
    const { jobId } = await enqueue(database.system, { tenantId, jobType: step });
    return test.sql`update background_jobs set payload = ${json}::text::jsonb where id = ${jobId}`;
  },
};
const codeOf = (outcome: Promise<unknown>) =>
  outcome.then(
    () => 'accepted',
    (error: { code: string }) =>
      ({ PU005: 'payload_too_large', PU007: 'invalid_payload' })[error.code] ?? error.code,
  );

describe.each(Object.keys(doors))('a payload through %s', (name) => {
  const door: Door = (json) => doors[name]?.(json) ?? Promise.reject(new Error(name));

  it.each([
    ['objects', false],
    ['lists', true],
  ])('of %s is accepted 100 levels deep, and refused deeper', async (_, list) => {
    expect(await codeOf(door(nested(100, list)))).toBe('accepted');
    for (const levels of [101, 150, 1_000, 4_500]) {
      expect([levels, await codeOf(door(nested(levels, list)))]).toEqual([
        levels,
        'invalid_payload',
      ]);
    }
  });

  it('of a mebibyte is refused when it is larger', async () => {
    const text = (bytes: number) => JSON.stringify({ text: 'x'.repeat(bytes - 12) });
    expect(await codeOf(door(text(1_048_576)))).toBe('accepted');
    expect(await codeOf(door(text(1_048_577)))).toBe('payload_too_large');
  });

  it('that is no object is refused', async () => {
    expect(await codeOf(door('[1]'))).toBe('invalid_payload');
  });
});

it('a payload that is older than the limit can be encrypted anew, but is not replayed', async () => {
  const { jobId, token } = await runningJob(test.sql, tenantId);
  await test.sql.begin(async (tx) => {
    await tx`alter table jobs disable trigger check_new_payload`;
    await tx`update jobs set payload = ${nested(200)}::text::jsonb where id = ${jobId}`;
    await tx`alter table jobs enable trigger check_new_payload`;
  });
  await test.sql`
    update background_jobs set payload = jsonb_set(payload, '{b}', '"rotated"') where id = ${jobId}`;
  const end = { ...completed, toState: 'dead_letter', error: { code: 'x', message: 'x' } } as const;
  await finish(test.sql, { jobId, token }, end);
  const replay = replayDeadLetter(database.system, jobId, { operator: 'test', source: 'test' });
  expect(await codeOf(replay)).toBe('invalid_payload');
});

describe('a result that a handler completes with in SQL', () => {
  const complete = async (json: string) => {
    const { jobId, token } = await runningJob(test.sql, tenantId);
    await test.sql.begin(async (tx) => {
      await tx`select set_config('purser.token', ${token}, true)`;
      await tx`select purser.complete_attempt(${json}::text::jsonb)`;
    });
    return (await jobRow(test.sql, jobId)).result;
  };

  it('is stored as it is up to a mebibyte and 100 levels', async () => {
    expect(await complete('"fine"')).toBe('fine');
    expect(await complete('null')).toBeNull();
    expect(await complete(JSON.stringify('x'.repeat(1_048_574)))).toHaveLength(1_048_574);
    expect(await complete(nested(100))).toEqual(JSON.parse(nested(100)));
  });

  it('of 60 MB is replaced by a note with its start', async () => {
    expect(await complete(JSON.stringify('x'.repeat(60_000_000)))).toEqual({
      purser: 'result cut',
      reason: 'too large',
      bytes: 60_000_002,
      limitBytes: 1_048_576,
      start: expect.stringMatching(/^"x{9999}$/),
    });
  });

  it.each([101, 4_500])('nested %i deep is replaced by a note', async (levels) => {
    expect(await complete(nested(levels))).toMatchObject({ purser: 'result not stored' });
  });
});

it.each([
  ['separators', Array.from({ length: 400_000 }, () => 1)],
  ['keys', Object.fromEntries(Array.from({ length: 80_000 }, (_, n) => [`k${n}`, n]))],
  ['exponents', Array.from({ length: 30_000 }, () => 1e300)],
  ['small exponents', Array.from({ length: 30_000 }, () => 1e-300)],
])('a returned result is at most a mebibyte as Postgres writes it: %s', async (_, result) => {
  const { jobId, token } = await runningJob(test.sql, tenantId);
  await finish(test.sql, { jobId, token }, { result: storableResult(result) });
  const [row] = await test.sql<{ bytes: number }[]>`
    select octet_length(result::text) as bytes from background_jobs where id = ${jobId}`;
  expect(row?.bytes).toBeLessThanOrEqual(1_048_576);
});
