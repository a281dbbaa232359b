import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  discardDeadLetter,
  listDeadLetters,
  replayDeadLetter,
} from '../../src/jobs/dead-letters.ts';
import { findJob } from '../../src/jobs/inspect.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { addJob, addJobType, claim, begin, finish, jobRow, runningJob } from './job-steps.ts';

let test: TestDatabase;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
  tenantId = await addTenant(test.sql);
});
afterAll(() => test.close());

const operator = { operator: 'ada', source: 'cli' };

async function deadJob(priority = 0): Promise<string> {
  const attempt = await runningJob(test.sql, tenantId, { priority, payload: { page: 7 } });
  await finish(test.sql, attempt, {
    toState: 'dead_letter',
    error: { code: 'broken', message: 'it broke' },
  });
  return attempt.jobId;
}

const listed = async () =>
  (await listDeadLetters(test.sql, { tenantId, limit: 100 })).map(({ jobId }) => jobId);

describe('replay', () => {
  it('makes a new job with the same payload and leaves the original as it is', async () => {
    const original = await deadJob(7);
    const before = await jobRow(test.sql, original);
    const { jobId, created } = await replayDeadLetter(test.sql, original, operator);
    expect(created).toBe(true);
    expect(await findJob(test.sql, jobId)).toMatchObject({
      state: 'pending',
      payload: { page: 7 },
      priority: 7,
      attempt: 0,
      replayOf: original,
      stateDetail: { replay_of: original, by: 'ada', source: 'cli' },
    });
    expect(await jobRow(test.sql, original)).toEqual(before);
    expect(await listed()).not.toContain(original);
    const job = (await claim(test.sql)).find((candidate) => candidate.jobId === jobId);
    if (job === undefined) throw new Error('not claimed');
    expect(await finish(test.sql, await begin(test.sql, job))).toBe('applied');
  });

  it('by 20 operators at once makes one job', async () => {
    const original = await deadJob();
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => replayDeadLetter(test.sql, original, operator)),
    );
    expect(answers.filter(({ created }) => created)).toHaveLength(1);
    expect(new Set(answers.map(({ jobId }) => jobId)).size).toBe(1);
  });

  it.each([
    ['that is none yet', () => addJob(test.sql, tenantId), /it is pending/, 409],
    ['that is unknown', () => Promise.resolve('987654321'), /no such job/, 404],
  ])('of a job %s is refused', async (_what, make, message, status) => {
    await expect(replayDeadLetter(test.sql, await make(), operator)).rejects.toMatchObject({
      code: 'not_a_dead_letter',
      message: expect.stringMatching(message),
      status,
    });
  });
});

describe('discard', () => {
  it('removes a dead letter from the list with operator and reason, and it cannot be replayed', async () => {
    const jobId = await deadJob();
    expect(await listed()).toContain(jobId);
    await discardDeadLetter(test.sql, jobId, { ...operator, reason: 'a duplicate' });
    expect(await listed()).not.toContain(jobId);
    expect(await jobRow(test.sql, jobId)).toMatchObject({
      state: 'dead_letter',
      state_detail: { discarded: { by: 'ada', source: 'cli', reason: 'a duplicate' } },
    });
    await expect(replayDeadLetter(test.sql, jobId, operator)).rejects.toThrow(/was discarded/);
    await expect(
      discardDeadLetter(test.sql, jobId, { ...operator, reason: 'again' }),
    ).rejects.toThrow(/was discarded/);
  });

  it('is refused for a job that has not ended', async () => {
    const jobId = await addJob(test.sql, tenantId);
    await expect(
      discardDeadLetter(test.sql, jobId, { ...operator, reason: 'x' }),
    ).rejects.toMatchObject({ code: 'not_a_dead_letter', status: 409 });
  });
});

it('the list is ordered newest first and has at most `limit` rows', async () => {
  const [older, newer] = [await deadJob(), await deadJob()];
  expect((await listed()).slice(0, 2)).toEqual([newer, older]);
  expect(await listDeadLetters(test.sql, { limit: 1 })).toMatchObject([
    { jobId: newer, errorCode: 'broken', errorMessage: 'it broke' },
  ]);
  expect(await listDeadLetters(test.sql, { tenantId: 'nobody', limit: 5 })).toEqual([]);
});
