/** The size of a payload, by which begins and entries are limited, is that of its stored text, whoever made the job. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import type { Database } from '../../../src/db/database.ts';
import { tenantSql } from '../../../src/db/tenant.ts';
import { replayDeadLetter } from '../../../src/jobs/dead-letters.ts';
import { enqueue, enqueueChild, enqueueMany } from '../../../src/jobs/enqueue.ts';
import type { EnqueueRequest } from '../../../src/jobs/request.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJobType, finish, runningJob, step } from '../job-steps.ts';

let test: TestDatabase;
let database: Database;
let sql: Sql;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open();
  sql = database.system;
  await addJobType(sql);
});
beforeEach(async () => {
  tenantId = await addTenant(sql);
});
afterAll(() => test.close());

/** Its text in the database has other spaces than JSON.stringify gives, and more bytes than characters. */
const payloadOf = (length: number) => ({ text: 'ł'.repeat(length), list: [1, { deep: '😀' }] });
const bytesOf = (length: number): number =>
  Buffer.byteLength(`{"list": [1, {"deep": "😀"}], "text": "${'ł'.repeat(length)}"}`);
const inAMinute = () => new Date(Date.now() + 60_000);

interface Size {
  readonly place: string;
  readonly payload_bytes: number;
  readonly stored: number;
}

async function sizeOf(jobId: string): Promise<Size> {
  const [size, ...others] = await sql<Size[]>`
    select s.place, s.payload_bytes, octet_length(j.payload::text) as stored
    from (
      select 'waiting' as place, job_id, payload_bytes from purser.waiting
      union all select 'later', job_id, payload_bytes from purser.later
    ) s join public.jobs j on j.id = s.job_id where j.id = ${jobId}`;
  if (size === undefined || others.length > 0) throw new Error(`job ${jobId} does not wait once`);
  return size;
}

const sizeIn = (place: string, length: number): Size => {
  const bytes = bytesOf(length);
  return { place, payload_bytes: bytes, stored: bytes };
};

describe.each([
  ['waiting', undefined],
  ['later', inAMinute()],
])('in %s, the size is that', (place, runAt) => {
  const request = (length: number): EnqueueRequest => ({
    tenantId,
    jobType: step,
    payload: payloadOf(length),
    runAt,
  });

  it('of a job that is enqueued by itself', async () => {
    const { jobId } = await enqueue(sql, { ...request(5), dedupKey: 'one' });
    expect(await sizeOf(jobId)).toEqual(sizeIn(place, 5));
    const { jobId: inTransaction } = await sql.begin((tx) => enqueue(tx, request(6)));
    expect(await sizeOf(inTransaction)).toEqual(sizeIn(place, 6));
  });

  it('of each of the jobs that share a statement', async () => {
    const lengths = [3, 30, 300];
    const together = await Promise.all(lengths.map((length) => enqueue(sql, request(length))));
    const many = await enqueueMany(
      sql,
      lengths.map((length) => ({ ...request(length), dedupKey: `many ${length}` })),
    );
    for (const answers of [together, many]) {
      for (const [index, { jobId }] of answers.entries()) {
        expect(await sizeOf(jobId)).toEqual(sizeIn(place, lengths[index] ?? 0));
      }
    }
  });

  it.each([
    ['a waiting job', undefined],
    ['a job that is not yet due', inAMinute()],
  ])('of the new payload of %s', async (_what, earlier) => {
    const first = { ...request(50), runAt: earlier, dedupKey: 'replaced' };
    const { jobId } = await enqueue(sql, first);
    for (const length of [500, 5]) {
      const next = { ...request(length), dedupKey: 'replaced', onDuplicate: 'replace' } as const;
      expect(await enqueue(sql, next)).toEqual({ jobId, created: false, replaced: true });
      expect(await sizeOf(jobId)).toEqual(sizeIn(place, length));
    }
  });

  it('of a child job', async () => {
    const { token } = await runningJob(sql, tenantId);
    const { tenantId: _, ...child } = request(40);
    const { jobId } = await enqueueChild(tenantSql(database.tenant, { token }), child);
    expect(await sizeOf(jobId)).toEqual(sizeIn(place, 40));
  });
});

it('of a replayed dead letter, the size is that of its payload', async () => {
  const attempt = await runningJob(sql, tenantId, { payload: payloadOf(60) });
  const error = { code: 'broken', message: 'it broke' };
  expect(await finish(sql, attempt, { toState: 'dead_letter', error })).toBe('applied');
  const by = { operator: 'alice', source: 'test' };
  const { jobId } = await replayDeadLetter(sql, attempt.jobId, by);
  expect(await sizeOf(jobId)).toEqual(sizeIn('waiting', 60));
});
