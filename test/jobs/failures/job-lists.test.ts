/** Lists of jobs of all eight states by one filter, compared with the view of all jobs. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import { requestCancel } from '../../../src/jobs/cancel.ts';
import { discardDeadLetter, replayDeadLetter } from '../../../src/jobs/dead-letters.ts';
import type { JobFilter } from '../../../src/jobs/search/filter.ts';
import { countJobs, listJobs } from '../../../src/jobs/search/list.ts';
import { jobsMatching } from '../../../src/jobs/search/matching-jobs.ts';
import { jobStates } from '../../../src/jobs/states.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import {
  addJob,
  addJobType,
  begin,
  claim,
  claimJob,
  finish,
  runningJob,
  step,
} from '../job-steps.ts';

let test: TestDatabase;
let sql: Sql;
let tenantId: string;
let second: string;
let dead: string;
let replay: string;

beforeAll(async () => {
  test = await freshDatabase();
  ({ sql } = test);
  await addJobType(sql);
  await addJobType(sql, 'other_step');
  [tenantId, second] = [await addTenant(sql), await addTenant(sql)];
  const error = { code: 'http_503', message: 'overloaded' };
  for (const tenant of [tenantId, second]) {
    await finish(sql, await runningJob(sql, tenant, { group: 'user:1' }));
    const cancelled = await addJob(sql, tenant);
    await requestCancel(sql, { jobId: cancelled, by: 'ada', reason: 'x' });
    const parked = await runningJob(sql, tenant);
    await finish(sql, parked, {
      toState: 'parked',
      neededUsd: '1',
      countsAttempt: false,
      error: { code: 'budget_exceeded', message: 'no' },
    });
    const failed = await runningJob(sql, tenant);
    await finish(sql, failed, { toState: 'failed', afterMs: 3_600_000, error });
    const mended = await runningJob(sql, tenant);
    await finish(sql, mended, { toState: 'failed', afterMs: 0, error });
    await finish(sql, await begin(sql, await claimJob(sql, mended.jobId)));
    await runningJob(sql, tenant);
    await addJob(sql, tenant, { dedupKey: `key of ${tenant}` });
    await claim(sql);
    await addJob(sql, tenant, { runAt: new Date(Date.now() + 3_600_000) });
    await addJob(sql, tenant, { jobType: 'other_step' });
  }
  const letters: string[] = [];
  for (let n = 0; n < 3; n += 1) {
    const attempt = await runningJob(sql, tenantId);
    await finish(sql, attempt, {
      toState: 'dead_letter',
      error: { code: 'type_error', message: 'x is not a function' },
    });
    letters.push(attempt.jobId);
  }
  dead = letters[0] ?? '';
  const by = { operator: 'ada', source: 'cli' };
  const made = await replayDeadLetter(sql, dead, by);
  const again = await begin(sql, await claimJob(sql, made.jobId));
  await finish(sql, again, {
    toState: 'dead_letter',
    error: { code: 'type_error', message: 'again' },
  });
  replay = (await replayDeadLetter(sql, made.jobId, by)).jobId;
  await discardDeadLetter(sql, letters[1] ?? '', { ...by, reason: 'x' });
});
afterAll(() => test.close());

async function ids(filter: JobFilter): Promise<string[]> {
  const jobs = await listJobs(sql, { ...filter, limit: 1_000 });
  expect([filter, await countJobs(sql, filter)]).toEqual([filter, jobs.length]);
  return jobs.map(({ jobId }) => jobId);
}

async function viewed(condition: string): Promise<string[]> {
  const rows = await sql.unsafe<{ id: string }[]>(
    `select id from background_jobs where ${condition} order by id desc`,
  );
  return rows.map(({ id }) => id);
}

describe('a list of jobs', () => {
  it('has every job of every state, as the view has, of each tenant and type', async () => {
    for (const state of jobStates) {
      const expected = await viewed(`state = '${state}'`);
      expect(expected.length).toBeGreaterThan(0);
      expect([state, await ids({ state })]).toEqual([state, expected]);
      const ofSecond = await viewed(`state = '${state}' and tenant_id = '${second}'`);
      expect([state, await ids({ state, tenantId: second })]).toEqual([state, ofSecond]);
    }
    expect(await ids({})).toEqual(await viewed('true'));
    expect(await ids({ jobType: 'other_step' })).toEqual(await viewed(`job_type = 'other_step'`));
    expect(await ids({ attempt: 2 })).toEqual(await viewed('attempt = 2'));
  });

  it('shows of each job what the view says of it', async () => {
    const rows = await sql`
      select id as "jobId", tenant_id as "tenantId", job_type as "jobType", nullif(group_name, '') as "group", state,
        attempt, max_attempts as "maxAttempts", priority, scheduled_for as "scheduledFor", created_at as "createdAt",
        finished_at as "finishedAt", error->>'code' as "errorCode"
      from background_jobs order by id desc`;
    expect(await listJobs(sql, { limit: 1_000 })).toEqual([...rows]);
  });

  it('finds by id, key, group, plan, code, words of an error, and time', async () => {
    const cases: [JobFilter, string][] = [
      [{ jobId: dead }, `id = ${dead}`],
      [{ dedupKey: `key of ${second}` }, `dedup_key = 'key of ${second}'`],
      [{ group: 'user:1' }, `group_name = 'user:1'`],
      [{ plan: 'nothing' }, 'false'],
      [
        { plan: 'free', tenantId },
        `tenant_id = '${tenantId}' and tenant_id in (select id from tenants where plan = 'free')`,
      ],
      [{ code: 'type_error' }, `error->>'code' = 'type_error'`],
      [{ code: 'http_503' }, `error->>'code' = 'http_503'`],
      [{ code: 'budget_exceeded', state: 'parked' }, `state = 'parked'`],
      [{ text: 'overload' }, `error->>'message' = 'overloaded'`],
      [
        { text: 'overload', state: 'completed', tenantId },
        `error->>'message' = 'overloaded' and state = 'completed' and tenant_id = '${tenantId}'`,
      ],
      [
        { text: 'not a function', state: 'dead_letter' },
        `error->>'message' = 'x is not a function'`,
      ],
      [{ since: new Date(Date.now() - 3_600_000) }, 'true'],
      [{ until: new Date(Date.now() - 3_600_000) }, 'false'],
    ];
    for (const [filter, condition] of cases) {
      expect([filter, await ids(filter)]).toEqual([filter, await viewed(condition)]);
    }
  });

  it('finds the same by words that are common, which it looks for in another way', async () => {
    for (const filter of [
      { text: 'overload' },
      { text: 'over', state: 'failed', tenantId },
    ] as const) {
      const rows = await sql<{ job_id: string }[]>`
        select m.job_id from (${jobsMatching(sql, filter, { wordsAreCommon: true })}) m order by m.job_id desc`;
      expect(rows.map((row) => row.job_id)).toEqual(await ids(filter));
      expect(rows.length).toBeGreaterThan(0);
    }
  });

  it('finds a chain of replays from each of its jobs', async () => {
    const chain = await ids({ replaysOf: dead });
    expect(chain).toHaveLength(3);
    expect([chain[0], chain[2]]).toEqual([replay, dead]);
    for (const jobId of chain) expect(await ids({ replaysOf: jobId })).toEqual(chain);
    expect(await ids({ replaysOf: dead, state: 'pending' })).toEqual([replay]);
  });

  it('has pages that neither repeat nor leave out', async () => {
    const all = await ids({});
    const seen: string[] = [];
    for (let beforeId: string | undefined; seen.length < 1_000;) {
      const page = await listJobs(sql, { limit: 4, beforeId });
      if (page.length === 0) break;
      seen.push(...page.map(({ jobId }) => jobId));
      beforeId = seen.at(-1);
    }
    expect(seen).toEqual(all);
    expect(await listJobs(sql, { limit: 2, jobType: step })).toHaveLength(2);
  });
});
