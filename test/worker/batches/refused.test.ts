/** A statement that Postgres refuses because of one job delays no other job, and that job ends too. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import type { AttemptEnd, BeginRequest } from '../../../src/jobs/attempts.ts';
import { createLogger } from '../../../src/log.ts';
import { createBatches } from '../../../src/worker/batches/attempt-batches.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJob, addJobType, begin, claim, completed, jobRow } from '../../jobs/job-steps.ts';
import { newToken } from '../../../src/jobs/attempts.ts';

let test: TestDatabase;
let sql: Sql;
let tenantId: string;
let lines: Record<string, unknown>[] = [];

beforeAll(async () => {
  test = await freshDatabase();
  sql = (await test.open()).system;
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
const open = () => createBatches({ sql, workerId: 'worker-1', leaseMs: 30_000, log });

/** `count` queued jobs, as a worker receives them. */
async function queued(count: number): Promise<BeginRequest[]> {
  const added = new Set<string>();
  while (added.size < count) added.add(await addJob(sql, tenantId));
  const jobs = (await claim(sql)).filter(({ jobId }) => added.has(jobId));
  return jobs.map(({ jobId, entryId }) => ({ jobId, entryId, token: newToken(jobId) }));
}
const running = async (count: number) =>
  Promise.all((await queued(count)).map((job) => begin(sql, job)));

describe('a row that cannot be stored', () => {
  const circular: Record<string, unknown> = {};
  circular['self'] = circular;
  const failed = { toState: 'failed', afterMs: 0 } as const;
  it.each<[string, Partial<AttemptEnd>, Record<string, unknown>]>([
    ['a NUL in its result', { result: { text: 'a\u0000b' } }, { state: 'completed' }],
    ['half a surrogate in its result', { result: '\uD800' }, { state: 'completed' }],
    ['a BigInt in its result', { result: 1n }, { state: 'completed' }],
    ['a circle in its result', { result: circular }, { state: 'completed' }],
    [
      'a NUL in its error',
      { ...failed, error: { code: 'boom', message: '\u0000' } },
      { state: 'failed', error: { code: 'boom' } },
    ],
    ['a NUL in its detail', { detail: { '\u0000': 1 } }, { state: 'completed' }],
    ['a time beyond time', { ...failed, afterMs: 1e300 }, { state: 'failed' }],
    [
      'an amount that is none',
      { toState: 'parked', until: new Date(), neededUsd: 'much' },
      { state: 'dead_letter', error: { code: 'end_not_stored' } },
    ],
  ])(
    'for %s fails none of the other 63, and its job ends with a note',
    async (_, bad, expected) => {
      const batches = open();
      const attempts = await running(65);
      const answers = await Promise.all(
        attempts.map(({ jobId, token }, at) =>
          batches.finish({ jobId, token, end: { ...completed, ...(at === 40 ? bad : {}) } }),
        ),
      );
      expect(new Set(answers)).toEqual(new Set(['applied']));
      const [bads, goods] = [attempts.slice(40, 41), attempts.toSpliced(40, 1)];
      const rows = await Promise.all(goods.map(({ jobId }) => jobRow(sql, jobId)));
      expect(rows.filter(({ state }) => state === 'completed')).toHaveLength(64);
      expect(rows.every(({ result }) => JSON.stringify(result) === '{"ok":true}')).toBe(true);
      const row = await jobRow(sql, bads[0]?.jobId ?? '');
      expect(row).toMatchObject(expected);
      expect(JSON.stringify(row)).toMatch(/not stored/);
      expect(lines.find(({ event }) => event === 'end_not_stored')).toMatchObject({
        jobId: bads[0]?.jobId,
      });
    },
  );

  const uncounted = { ...completed, countsAttempt: false };
  it.each<[string, AttemptEnd]>([
    [
      'parked beyond time',
      { ...uncounted, toState: 'parked', neededUsd: '1', until: new Date(8.64e15) },
    ],
    [
      'parked before time',
      { ...uncounted, toState: 'parked', neededUsd: '1', until: new Date(-8.64e15) },
    ],
    ['parked until no time', { ...uncounted, toState: 'parked', until: new Date(NaN) }],
    ['pending beyond time', { ...uncounted, toState: 'pending', afterMs: 1e300 }],
    ['pending with a NUL', { ...uncounted, toState: 'pending', detail: { '\u0000': 1 } }],
  ])('is a dead letter when its attempt would not count, such as %s', async (_, end) => {
    const [attempt] = await running(1);
    if (attempt === undefined) throw new Error('not begun');
    expect(await open().finish({ ...attempt, end })).toBe('applied');
    expect(await jobRow(sql, attempt.jobId)).toMatchObject({
      state: 'dead_letter',
      attempt: 1,
      error: { code: 'end_not_stored' },
    });
  });

  it('is refused to its caller alone when it is a begin', async () => {
    const batches = open();
    const jobs = await queued(10);
    const outcomes = await Promise.allSettled(
      jobs.map((job, at) => batches.begin(at === 5 ? { ...job, entryId: 'none' } : { ...job })),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(
      jobs.map((_, at) => (at === 5 ? 'rejected' : 'fulfilled')),
    );
    const states = await Promise.all(
      jobs.map(async ({ jobId }) => (await jobRow(sql, jobId)).state),
    );
    expect(states).toEqual(jobs.map((_, at) => (at === 5 ? 'queued' : 'running')));
  });

  it('has no effect on later requests, which are batched again', async () => {
    const batches = open();
    const attempts = await running(3);
    await Promise.all(
      attempts.map((attempt) =>
        batches.finish({ ...attempt, end: { ...completed, result: '\u0000' } }),
      ),
    );
    const next = await running(5);
    await Promise.all(next.map((attempt) => batches.finish({ ...attempt, end: completed })));
    const [batch] = await sql<{ jobs: number }[]>`
      select count(*)::int as jobs from jobs
      where id = any(${next.map(({ jobId }) => jobId)}::bigint[]) group by xmin order by 1 desc`;
    expect(batch?.jobs).toBe(5);
  });
});
