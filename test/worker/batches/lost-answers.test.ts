/** The network fails during a batch: statements that took effect are answered as such, others are repeated, and every caller gets an answer. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { openTenantPool } from '../../../src/db/tenant-pool.ts';
import { tenantSql } from '../../../src/db/tenant.ts';
import { createLogger } from '../../../src/log.ts';
import { createBatches } from '../../../src/worker/batches/attempt-batches.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import {
  addJob,
  addJobType,
  begin,
  claim,
  completed,
  eventually,
  historyOf,
  jobRow,
} from '../../jobs/job-steps.ts';
import { startCuttingProxy } from './cutting-proxy.ts';
import type { CuttingProxy } from './cutting-proxy.ts';
import type { AttemptEnd } from '../../../src/jobs/attempts.ts';
import { newToken } from '../../../src/jobs/attempts.ts';

let test: TestDatabase;
let proxy: CuttingProxy;
let far: Sql;
let tenantId: string;
let lines: Record<string, unknown>[] = [];

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
});
beforeEach(async () => {
  tenantId = await addTenant(test.sql);
  proxy = await startCuttingProxy(test.url);
  far = connect(proxy.url, { max: 4, applicationName: 'purser test far', prepare: false });
  lines = [];
});
afterEach(async () => {
  await far.end({ timeout: 0 });
  await proxy.close();
});
afterAll(() => test.close());

const log = createLogger({
  level: 'debug',
  role: 'test',
  destination: { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
});
const open = (options: { giveUpMs?: number; answerWithinMs?: number } = {}) =>
  createBatches({ sql: far, workerId: 'worker-1', leaseMs: 30_000, log, ...options });

async function queued(count: number) {
  const added = new Set<string>();
  while (added.size < count) added.add(await addJob(test.sql, tenantId));
  const jobs = (await claim(test.sql)).filter(({ jobId }) => added.has(jobId));
  return jobs.map(({ jobId, entryId }) => ({ jobId, entryId, token: newToken(jobId) }));
}
const running = async (count: number) =>
  Promise.all((await queued(count)).map((job) => begin(test.sql, job)));
const codeOf = (outcome: PromiseSettledResult<unknown>): unknown =>
  outcome.status === 'rejected' ? Reflect.get(outcome.reason as object, 'code') : 'fulfilled';

const failed: AttemptEnd = {
  toState: 'failed',
  countsAttempt: true,
  afterMs: 0,
  error: { code: 'boom', message: 'boom' },
  detail: {},
};

describe.each([
  ['lost with its connection', (part: string) => proxy.loseAnswerTo(part)],
  ['swallowed by a connection that stays open', (part: string) => proxy.swallowAnswerTo(part)],
])('an answer that is %s', (_, lose) => {
  it('to a begin is asked for again: every attempt began once, under its first token', async () => {
    const batches = open({ answerWithinMs: 500 });
    const jobs = await queued(12);
    const lost = lose('purser.begin_attempts');
    const attempts = await Promise.all(jobs.map((job) => batches.begin(job)));
    await lost;
    expect(attempts.map((attempt) => attempt?.token)).toEqual(jobs.map(({ token }) => token));
    for (const { jobId } of jobs) {
      expect(await jobRow(test.sql, jobId)).toMatchObject({ state: 'running', attempt: 1 });
      expect(await historyOf(test.sql, jobId)).toHaveLength(3);
    }
    expect(lines.map(({ event }) => event)).toContain('batch_repeated');
  });

  it.each([
    ['a completion', 'purser.finish_completed', completed],
    ['another end', 'purser.finish_attempts', failed],
  ])(
    'to a finish, %s, is asked for again: what was lost is answered as repeated',
    async (...each) => {
      const [, statement, end] = each;
      const batches = open({ answerWithinMs: 500 });
      const attempts = await running(12);
      const lost = lose(statement);
      const answers = await Promise.all(
        attempts.map(({ jobId, token }) => batches.finish({ jobId, token, end })),
      );
      await lost;
      expect(answers.slice(0, 1)).toEqual(['repeated']);
      expect(answers.every((answer) => answer === 'repeated' || answer === 'applied')).toBe(true);
      for (const { jobId } of attempts) {
        expect(await jobRow(test.sql, jobId)).toMatchObject({ state: end.toState, attempt: 1 });
        expect((await historyOf(test.sql, jobId)).at(-1)).toBe(`running>${end.toState}`);
        expect(await historyOf(test.sql, jobId)).toHaveLength(4);
      }
    },
  );
});

it('a completion whose answer was lost fails its handler, and its job stays completed', async () => {
  const [attempt] = await running(1);
  if (attempt === undefined) throw new Error('no job');
  const { jobId, token } = attempt;
  const pool = openTenantPool(
    {
      url: proxy.url,
      tlsVerify: undefined,
      pooled: false,
      serverVersion: 15,
      switchRole: true,
      checksConnection: true,
    },
    { max: 1, applicationName: 'purser test far' },
  );
  const lost = proxy.loseAnswerTo('complete_attempt');
  const work = tenantSql(pool, { token }).begin(async () => 'done', { complete: true });
  await expect(work).rejects.toMatchObject({ code: 'database_unavailable' });
  await pool.close();
  await lost;
  const error = { code: 'database_unavailable', message: 'lost' };
  const end = { ...completed, toState: 'failed', afterMs: 0, error } as const;
  expect(await open().finish({ jobId, token, end })).toBe('repeated');
  expect(await jobRow(test.sql, jobId)).toMatchObject({ state: 'completed', result: 'done' });
});

describe('while the database is unavailable', () => {
  it('requests wait, are batched, and are answered when it is available again', async () => {
    const batches = open();
    const jobs = await queued(20);
    proxy.refuse();
    const asked = Promise.all(jobs.map((job) => batches.begin(job)));
    await eventually('three tries', async () => (lines.length >= 3 ? true : undefined));
    proxy.admit();
    expect((await asked).map((attempt) => attempt?.token)).toEqual(jobs.map(({ token }) => token));
    expect(new Set(lines.map(({ event }) => event))).toEqual(new Set(['batch_repeated']));
  });

  it('for too long, every waiting request is rejected, and later ones are answered', async () => {
    const batches = open({ giveUpMs: 600 });
    const attempts = await running(70);
    proxy.refuse();
    const outcomes = await Promise.allSettled(
      attempts.map((attempt) => batches.finish({ ...attempt, end: completed })),
    );
    for (const outcome of outcomes) expect(codeOf(outcome)).toMatch(/^(ECONN|CONNECTION_)/);
    proxy.admit();
    const answers = await Promise.all(
      attempts.map((attempt) => batches.finish({ ...attempt, end: completed })),
    );
    expect(new Set(answers)).toEqual(new Set(['applied']));
  });

  it('because the pool was closed, requests are rejected at once', async () => {
    const batches = open();
    const [job] = await queued(1);
    if (job === undefined) throw new Error('no job');
    await far.end({ timeout: 0 });
    await expect(batches.begin(job)).rejects.toMatchObject({ code: 'CONNECTION_ENDED' });
    expect(lines).toEqual([]);
  });
});
