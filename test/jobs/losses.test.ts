/** Crashes: the death of a worker is not blamed on a job, not even on one that ran alone beside it. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import type { AttemptEnd } from '../../src/jobs/attempts.ts';
import { rescueLostAttempts } from '../../src/jobs/sweep.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { addJob, addJobType, begin, claimJob, finish, jobRow, runningJob } from './job-steps.ts';

let test: TestDatabase;
let sql: Sql;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  sql = test.sql;
  await addJobType(sql);
});
beforeEach(async () => {
  tenantId = await addTenant(sql);
});
afterAll(() => test.close());

const factsOf = async (jobId: string) => {
  const { state, attempt, suspect, losses, losses_alone } = await jobRow(sql, jobId);
  return { state, attempt, suspect, losses, losses_alone };
};

/** Begins the job, whose worker then dies. */
async function lose(jobId: string) {
  await sql`update background_jobs set scheduled_for = now() where id = ${jobId}`;
  const { isolated } = await begin(sql, await claimJob(sql, jobId), -1);
  const rescued = await rescueLostAttempts(sql);
  return { isolated, rescued };
}

describe('a worker that died', () => {
  it('costs its jobs no attempt; the second one makes a suspect, and no number of them a dead letter', async () => {
    const jobId = await addJob(sql, tenantId);
    const waiting = { state: 'pending', attempt: 0, losses_alone: 0 };
    const seen: unknown[] = [];
    for (let deaths = 1; deaths <= 5; deaths += 1) {
      const { isolated } = await lose(jobId);
      seen.push({ isolated, ...(await factsOf(jobId)) });
    }
    expect(seen).toEqual([
      { ...waiting, isolated: false, losses: 1, suspect: false },
      { ...waiting, isolated: false, losses: 2, suspect: true },
      { ...waiting, isolated: true, losses: 3, suspect: true },
      { ...waiting, isolated: true, losses: 4, suspect: true },
      { ...waiting, isolated: true, losses: 5, suspect: true },
    ]);
    const row = await jobRow(sql, jobId);
    expect(row.error).toBeNull();
    expect(row.state_detail).toEqual({ reason: 'worker lost', worker: 'worker-1', isolated: true });
  });

  it('delays a job that ran alone longer each time, up to 10 minutes, and no other job', async () => {
    const jobId = await addJob(sql, tenantId);
    const waits: number[] = [];
    for (let deaths = 1; deaths <= 14; deaths += 1) {
      await lose(jobId);
      const [row] = await sql<{ wait: number }[]>`
        select round(extract(epoch from scheduled_for - now()))::int as wait
        from background_jobs where id = ${jobId}`;
      waits.push(Math.max(0, row?.wait ?? 0));
    }
    expect(waits).toEqual([0, 0, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600, 600]);
  });

  it('does not count the running time of its jobs as waiting time', async () => {
    const attempt = await runningJob(sql, tenantId, {}, -1);
    const before = (await jobRow(sql, attempt.jobId)).give_up_at;
    await sql`
      update background_jobs set started_at = started_at - interval '3 hours'
      where id = ${attempt.jobId}`;
    await rescueLostAttempts(sql);
    const after = (await jobRow(sql, attempt.jobId)).give_up_at;
    expect(after.getTime() - before.getTime()).toBeGreaterThanOrEqual(3 * 3_600_000);
  });

  it('is counted by the lease, not by the current state of the job', async () => {
    const attempt = await runningJob(sql, tenantId, {}, -1);
    await sql`update background_jobs set suspect = true where id = ${attempt.jobId}`;
    await rescueLostAttempts(sql);
    expect(await factsOf(attempt.jobId)).toMatchObject({
      losses: 1,
      losses_alone: 0,
      suspect: true,
    });
  });
});

describe('the end of an attempt', () => {
  const handedBack: Partial<AttemptEnd> = {
    toState: 'pending',
    afterMs: 0,
    countsAttempt: false,
  };
  const suspicious = async () => {
    const attempt = await runningJob(sql, tenantId);
    await sql`
      update background_jobs set suspect = true, losses = 2, losses_alone = 1
      where id = ${attempt.jobId}`;
    return attempt;
  };

  it.each([
    ['says nothing of it', {}, { suspect: true, losses: 2, losses_alone: 1 }],
    ['clears it', { suspect: false }, { suspect: false, losses: 0, losses_alone: 0 }],
    ['keeps it up', { suspect: true }, { suspect: true, losses: 2, losses_alone: 1 }],
    [
      'adds an isolated loss',
      { suspect: true, lost: 'isolated' },
      { suspect: true, losses: 2, losses_alone: 2 },
    ],
    ['adds a shared loss', { lost: 'shared' }, { suspect: true, losses: 3, losses_alone: 1 }],
  ] as const)('that %s does so to suspicion and losses', async (_, end, expected) => {
    const attempt = await suspicious();
    await finish(sql, attempt, { ...handedBack, ...end });
    expect(await factsOf(attempt.jobId)).toEqual({ state: 'pending', attempt: 0, ...expected });
  });

  it('that is the second shared loss makes a suspect, the first does not', async () => {
    const attempt = await runningJob(sql, tenantId);
    await finish(sql, attempt, { ...handedBack, lost: 'shared' });
    expect(await factsOf(attempt.jobId)).toMatchObject({ losses: 1, suspect: false });
    const next = await begin(sql, await claimJob(sql, attempt.jobId));
    await finish(sql, next, { ...handedBack, lost: 'shared' });
    expect(await factsOf(attempt.jobId)).toMatchObject({ losses: 2, suspect: true });
  });

  it('that marks a suspect makes its next attempt run isolated', async () => {
    const attempt = await runningJob(sql, tenantId);
    expect(attempt.isolated).toBe(false);
    await finish(sql, attempt, { ...handedBack, suspect: true });
    const next = await begin(sql, await claimJob(sql, attempt.jobId));
    expect(next).toMatchObject({ isolated: true, isolatedCrashes: 0, attempt: 1 });
    await finish(sql, next, { suspect: false });
    expect(await factsOf(attempt.jobId)).toMatchObject({ state: 'completed', suspect: false });
  });
});
