/** Ends of one attempt that meet: finish, completion by the handler, rescue and cancel. One of them happens. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import type { Database } from '../../src/db/database.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import { finishAttempts, newToken } from '../../src/jobs/attempts.ts';
import { requestCancel } from '../../src/jobs/cancel.ts';
import { rescueLostAttempts } from '../../src/jobs/sweep.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { untilWaiting } from '../support/holds.ts';
import { addTenant } from '../support/tenants.ts';
import { addJobType, completed, finish, historyOf, jobRow, runningJob } from './job-steps.ts';

let test: TestDatabase;
let database: Database;
let sql: Sql;
let gate: Sql;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ systemConnections: 8 });
  sql = database.system;
  gate = (await test.open()).system;
  await addJobType(sql);
  // A finish waits for a lock for 200 ms; on a busy machine, to connect and to plan takes as long.
  const unknown = { jobId: '1', token: newToken('1') };
  await Promise.all(Array.from({ length: 8 }, () => finish(sql, unknown)));
});
beforeEach(async () => {
  tenantId = await addTenant(sql);
});
afterAll(() => test.close());

const request = { by: 'alice', reason: 'wrong file' };
const again = {
  toState: 'failed',
  error: { code: 'flaky', message: 'flaky' },
  afterMs: 0,
} as const;
const lostJob = () => runningJob(sql, tenantId, {}, -1);
const rescue = () => rescueLostAttempts(sql);

/** Starts `acts` one after the other, each once the one before waits for the row that the gate holds. */
async function atTheGate<T>(
  lock: (tx: Sql) => Promise<unknown>,
  ...acts: (() => Promise<T>)[]
): Promise<T[]> {
  const { answers } = await gate.begin(async (tx) => {
    await lock(tx as unknown as Sql);
    const started: Promise<T>[] = [];
    for (const act of acts) {
      started.push(act());
      await untilWaiting(gate, started.length);
    }
    return { answers: Promise.all(started) };
  });
  return answers;
}
/** Starts `act` while a rescue has the attempt and is not committed. */
async function afterRescue<T>(act: () => Promise<T>): Promise<[number, T]> {
  const { requeued, late } = await gate.begin(async (tx) => {
    const { requeued } = await rescueLostAttempts(tx);
    const late = act();
    await untilWaiting(gate, 1);
    return { requeued, late: { answer: late } };
  });
  return [requeued, await late.answer];
}
const jobLocked = (jobId: string) => (tx: Sql) =>
  tx`select from purser.in_flight where job_id = ${jobId} for update`;

describe('a finish', () => {
  it('that arrives while the first request is still waiting is answered repeated', async () => {
    const attempt = await runningJob(sql, tenantId);
    const answers = await atTheGate(
      jobLocked(attempt.jobId),
      () => finish(sql, attempt),
      () => finish(sql, attempt),
    );
    expect(answers).toEqual(['applied', 'repeated']);
    expect((await historyOf(sql, attempt.jobId)).at(-1)).toBe('running>completed');
  });

  it('and a rescue: the first to lock the token ends the attempt, in either order', async () => {
    const finished = await lostJob();
    const [answer] = await atTheGate(jobLocked(finished.jobId), () => finish(sql, finished));
    expect(answer).toBe('applied');
    expect(await rescue()).toMatchObject({ requeued: 0 });

    const rescued = await lostJob();
    expect(await afterRescue(() => finish(sql, rescued))).toEqual([1, 'stale']);
    expect(await jobRow(sql, rescued.jobId)).toMatchObject({ state: 'pending', result: null });
  });

  it('and a rescue, fifty times at once: one end each, and the answer says which', async () => {
    const attempts: Awaited<ReturnType<typeof lostJob>>[] = [];
    while (attempts.length < 50) attempts.push(await lostJob());
    const [answers] = await Promise.all([
      Promise.all(
        attempts.map(async ({ jobId, token }) => {
          const ends = await finishAttempts(sql, [{ jobId, token, end: completed }]);
          return ends.get(jobId);
        }),
      ),
      rescue(),
      rescue(),
    ]);
    for (const [at, { jobId }] of attempts.entries()) {
      const { state } = await jobRow(sql, jobId);
      expect(state).toBe(answers[at] === 'applied' ? 'completed' : 'pending');
    }
  });
});

describe('a completion by the handler', () => {
  const complete = ({ token }: { token: string }) =>
    tenantSql(database.tenant, { token })
      .begin(async () => 'of the handler', { complete: true })
      .then(
        () => 'committed',
        (error: { code: string }) => error.code,
      );

  it('and a rescue: the first to lock the token ends the attempt, in either order', async () => {
    const finished = await lostJob();
    const outcome = await atTheGate(jobLocked(finished.jobId), () => complete(finished));
    expect(outcome).toEqual(['committed']);
    expect(await rescue()).toMatchObject({ requeued: 0 });
    expect((await jobRow(sql, finished.jobId)).result).toBe('of the handler');

    const rescued = await lostJob();
    expect(await afterRescue(() => complete(rescued))).toEqual([1, 'PU002']);
    expect(await jobRow(sql, rescued.jobId)).toMatchObject({ state: 'pending', result: null });
  });

  it('is skipped by a rescue while it commits', async () => {
    const attempt = await lostJob();
    const { outcome } = await gate.begin(async (tx) => {
      await tx`select from purser.in_flight where job_id = ${attempt.jobId} for update`;
      const outcome = complete(attempt);
      await untilWaiting(gate, 1);
      expect(await rescue()).toMatchObject({ requeued: 0 });
      return { outcome };
    });
    expect(await outcome).toBe('committed');
  });

  it('and a finish with the same token: the second is answered repeated', async () => {
    const attempt = await runningJob(sql, tenantId);
    const answers = await atTheGate(
      jobLocked(attempt.jobId),
      () => complete(attempt),
      () => finish(sql, attempt, again),
    );
    expect(answers).toEqual(['committed', 'repeated']);
    expect(await jobRow(sql, attempt.jobId)).toMatchObject({
      state: 'completed',
      result: 'of the handler',
      error: null,
    });
  });
});

describe('a request to cancel', () => {
  const cancel = async ({ jobId }: { jobId: string }) =>
    (await requestCancel(sql, { jobId, ...request })).outcome;

  it.each([
    ['failed', again],
    ['pending', { toState: 'pending', afterMs: 0, countsAttempt: false }],
    ['parked', { toState: 'parked', neededUsd: '1', until: new Date(0) }],
  ] as const)('is obeyed by a finish to %s: the job does not run again', async (_, end) => {
    const attempt = await runningJob(sql, tenantId);
    expect(await cancel(attempt)).toBe('requested');
    expect(await finish(sql, attempt, end)).toBe('applied');
    expect(await jobRow(sql, attempt.jobId)).toMatchObject({
      state: 'cancelled',
      state_detail: request,
      finished_at: expect.any(Date),
    });
    expect(await finish(sql, attempt, end)).toBe('repeated');
  });

  it.each(['completed', 'dead_letter'] as const)(
    'is too late for a finish to %s',
    async (toState) => {
      const attempt = await runningJob(sql, tenantId);
      await cancel(attempt);
      await finish(sql, attempt, { toState, error: again.error });
      expect((await jobRow(sql, attempt.jobId)).state).toBe(toState);
    },
  );

  it('that arrives during a finish to failed is not lost', async () => {
    const requestFirst = await runningJob(sql, tenantId);
    const { asked, finished } = await gate.begin(async (tx) => {
      await requestCancel(tx, { jobId: requestFirst.jobId, ...request });
      const finished = finish(sql, requestFirst, again);
      await untilWaiting(gate, 1);
      return { asked: 'requested', finished };
    });
    expect([asked, await finished]).toEqual(['requested', 'applied']);
    expect((await jobRow(sql, requestFirst.jobId)).state).toBe('cancelled');

    const finishFirst = await runningJob(sql, tenantId);
    const answers = await atTheGate<unknown>(
      jobLocked(finishFirst.jobId),
      () => finish(sql, finishFirst, again),
      () => cancel(finishFirst),
    );
    expect(answers).toEqual(['applied', 'cancelled']);
    expect((await jobRow(sql, finishFirst.jobId)).state).toBe('cancelled');
  });

  it('ends a job whose worker was lost, instead of starting another attempt', async () => {
    const attempt = await lostJob();
    await cancel(attempt);
    expect(await rescue()).toEqual({ requeued: 0, cancelled: 1 });
    expect(await jobRow(sql, attempt.jobId)).toMatchObject({
      state: 'cancelled',
      state_detail: request,
      error: null,
    });
    expect(await historyOf(sql, attempt.jobId)).toContain('running>cancelled');
    expect(await finish(sql, attempt)).toBe('stale');
  });

  it('that is not committed yet makes a rescue skip the job, and the next rescue cancels it', async () => {
    const attempt = await lostJob();
    await gate.begin(async (tx) => {
      await requestCancel(tx, { jobId: attempt.jobId, ...request });
      expect(await rescue()).toEqual({ requeued: 0, cancelled: 0 });
    });
    expect(await rescue()).toEqual({ requeued: 0, cancelled: 1 });
  });
});
