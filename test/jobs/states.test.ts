import { afterAll, beforeAll, expect, it } from 'vitest';
import type { AttemptEnd } from '../../src/jobs/attempts.ts';
import { requestCancel } from '../../src/jobs/cancel.ts';
import { discardDeadLetter, replayDeadLetter } from '../../src/jobs/dead-letters.ts';
import { countByState } from '../../src/jobs/inspect.ts';
import { returnToPending } from '../../src/jobs/queued.ts';
import { jobStates, terminalStates, transitions } from '../../src/jobs/states.ts';
import type { JobState } from '../../src/jobs/states.ts';
import {
  addUpJobCounts,
  expireWaitingJobs,
  rescueLostAttempts,
  wakeParkedJobs,
} from '../../src/jobs/sweep.ts';
import { illegalPaths, miscounted, misplaced } from '../faults/auditor.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { addJob, addJobType, begin, claim, finish, runningJob } from './job-steps.ts';

let test: TestDatabase;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  await addJobType(test.sql);
  tenantId = await addTenant(test.sql);
});
afterAll(() => test.close());

/** A linear congruential generator: the walk is the same in every run. */
function choices(seed: number): <T>(items: readonly T[]) => T | undefined {
  let state = seed;
  return (items) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return items[Math.floor((state / 2_147_483_648) * items.length)];
  };
}

const error = { code: 'broken', message: 'it broke' };
const inAMinute = () => new Date(Date.now() + 60_000);
const ends: readonly Partial<AttemptEnd>[] = [
  {},
  { toState: 'failed', error },
  { toState: 'failed', error, afterMs: 60_000 },
  { toState: 'pending', countsAttempt: false },
  { toState: 'pending', countsAttempt: false, afterMs: 60_000 },
  { toState: 'parked', neededUsd: '0.001', until: inAMinute() },
  { toState: 'parked', neededUsd: '1000000', until: inAMinute() },
  { toState: 'dead_letter', error },
  { toState: 'cancelled' },
];
const operator = { operator: 'ops', source: 'test' };

it('a random walk through every door keeps each job in one table, on allowed paths, and counted', async () => {
  const { sql } = test;
  const choose = choices(20_261_128);
  const idsIn = async (state: JobState): Promise<string[]> =>
    (
      await sql<{ id: string }[]>`
        select id from background_jobs where state = ${state} order by id`
    ).map(({ id }) => id);
  const one = async (act: (jobId: string) => Promise<unknown>, ...states: JobState[]) => {
    const state = choose(states);
    const jobId = state === undefined ? undefined : choose(await idsIn(state));
    if (jobId !== undefined) await act(jobId);
  };
  const overdue = (jobId: string) =>
    sql`update background_jobs set give_up_at = now() - interval '1 second' where id = ${jobId}`;
  const due = (jobId: string) =>
    sql`
      with postponed as (update purser.later set scheduled_for = now() where job_id = ${jobId})
      update purser.parked set scheduled_for = now() where job_id = ${jobId}`;
  const entryOf = async (jobId: string) => {
    const [row] = await sql<{ entryId: string }[]>`
      select entry_id as "entryId" from background_jobs where id = ${jobId}`;
    return { jobId, entryId: row?.entryId ?? '' };
  };
  const steps: readonly (() => Promise<unknown>)[] = [
    () => addJob(sql, tenantId),
    () => addJob(sql, tenantId, { runAt: inAMinute() }),
    () => claim(sql, 3),
    () => one(async (jobId) => begin(sql, await entryOf(jobId)), 'queued'),
    () => one(async (jobId) => begin(sql, await entryOf(jobId)), 'queued'),
    () =>
      one(async (jobId) => {
        const [row] = await sql<{ token: string }[]>`
          select attempt_token as token from background_jobs where id = ${jobId}`;
        expect(await finish(sql, { jobId, token: row?.token ?? '' }, choose(ends))).toBe('applied');
      }, 'running'),
    () =>
      one(async (jobId) => returnToPending(sql, [await entryOf(jobId)], 'worker full'), 'queued'),
    () =>
      one(
        (jobId) => requestCancel(sql, { jobId, by: 'ops', reason: 'x' }),
        'pending',
        'queued',
        'running',
        'failed',
        'parked',
      ),
    () => one(due, 'pending', 'failed', 'parked'),
    () => one(due, 'pending', 'failed', 'parked'),
    async () => {
      await one(overdue, 'pending', 'queued', 'failed', 'parked');
      await expireWaitingJobs(sql);
    },
    async () => {
      await one(async (jobId) => {
        await sql`update purser.in_flight set expires_at = now() - interval '1 second' where job_id = ${jobId}`;
      }, 'running');
      await rescueLostAttempts(sql);
    },
    () => wakeParkedJobs(sql),
    async () => {
      await one(overdue, 'parked');
      await expireWaitingJobs(sql);
    },
    () =>
      one(async (jobId) => {
        await replayDeadLetter(sql, jobId, operator).catch(() => {});
      }, 'dead_letter'),
    () =>
      one(async (jobId) => {
        await discardDeadLetter(sql, jobId, { ...operator, reason: 'x' }).catch(() => {});
      }, 'dead_letter'),
    () => addUpJobCounts(sql),
    () => one((jobId) => sql`delete from jobs where id = ${jobId}`, ...terminalStates),
  ];
  const seen = new Set<string>();
  for (let step = 0; step < 1_500; step += 1) {
    await choose(steps)?.();
    if (step % 10 !== 0) continue;
    for (const look of [misplaced, illegalPaths, miscounted])
      expect([...(await look(sql))]).toEqual([]);
    const moves = await sql<{ move: string }[]>`
      select distinct from_state || '>' || to_state as move from job_events where from_state is not null`;
    for (const { move } of moves) seen.add(move);
    const counted = await sql<{ state: JobState; jobs: number }[]>`
      select state, count(*)::int as jobs from background_jobs group by state`;
    expect(await countByState(sql)).toEqual(
      Object.fromEntries(counted.map(({ state, jobs }) => [state, jobs])),
    );
  }
  // The walk has taken every step that there is.
  const allowed = jobStates.flatMap((from) => transitions[from].map((to) => `${from}>${to}`));
  expect([...seen].toSorted()).toEqual(allowed.toSorted());
});

it('the states that end a job', () => {
  expect(terminalStates).toEqual(['completed', 'dead_letter', 'cancelled']);
});

it.each([
  ['running without a lease', `update purser.in_flight set expires_at = null`],
  ['a lease without running', `update purser.in_flight set token = null`],
  ['the token of another job', `update purser.in_flight set token = gen_random_uuid()`],
  ['a negative attempt', `update purser.in_flight set attempt = -1`],
  ['ended without an end', `update jobs set outcome = 'cancelled'`],
  ['an end without having ended', `update jobs set finished_at = now()`],
  [
    'a dead letter without an error',
    `update jobs set outcome = 'dead_letter', finished_at = now()`,
  ],
  ['discarded without being a dead letter', `update jobs set discarded_at = now()`],
  ['a priority out of range', `update jobs set priority = 1001`],
  ['a state that is none', `update jobs set outcome = 'sleeping', finished_at = now()`],
])('the tables refuse %s', async (_what, statement) => {
  const { jobId } = await runningJob(test.sql, tenantId);
  const key = statement.includes('in_flight') ? 'job_id' : 'id';
  await expect(test.sql.unsafe(`${statement} where ${key} = ${jobId}`)).rejects.toMatchObject({
    code: '23514',
  });
});

it('parked without needed_usd is refused', async () => {
  const attempt = await runningJob(test.sql, tenantId);
  await expect(finish(test.sql, attempt, { toState: 'parked' })).rejects.toMatchObject({
    code: '23514',
  });
});

it.each([
  ['42501', `update purser.job_history set to_state = to_state`],
  ['42501', `delete from purser.job_history`],
  ['42501', `truncate purser.job_history`],
  ['55000', `update job_events set to_state = to_state`],
  ['55000', `delete from job_events`],
])('the history is append-only (%s): %s', async (code, statement) => {
  await finish(test.sql, await runningJob(test.sql, tenantId));
  await expect(test.sql.unsafe(statement)).rejects.toMatchObject({ code });
});

it('what belongs to a deleted job goes with it, and a type with jobs stays', async () => {
  const { jobId } = await runningJob(test.sql, tenantId);
  await expect(test.sql`delete from job_types where job_type = 'test_step'`).rejects.toMatchObject({
    code: '23503',
  });
  await test.sql`delete from jobs where id = ${jobId}`;
  const [left] = await test.sql`
    select (select count(*)::int from purser.in_flight where job_id = ${jobId})
         + (select count(*)::int from purser.job_history where job_id = ${jobId}) as rows`;
  expect(left).toEqual({ rows: 0 });
});

it('every transition of a job is recorded with its attempt', async () => {
  const attempt = await runningJob(test.sql, tenantId);
  await finish(test.sql, attempt);
  const events = await test.sql`
    select from_state, to_state, attempt from job_events where job_id = ${attempt.jobId} order by id`;
  expect(events.map((event) => Object.values(event).join(' '))).toEqual([
    ' pending 0',
    'pending queued 0',
    'queued running 1',
    'running completed 1',
  ]);
});
