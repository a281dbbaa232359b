/** What the end of a failed attempt records, and how failures are grouped and counted. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import type { AttemptEnd } from '../../../src/jobs/attempts.ts';
import {
  countDeadLetters,
  discardDeadLetter,
  listDeadLetters,
  replayDeadLetter,
} from '../../../src/jobs/dead-letters.ts';
import { listAttempts } from '../../../src/jobs/failures/attempts.ts';
import { listFailureGroups } from '../../../src/jobs/failures/groups.ts';
import type { JobFilter } from '../../../src/jobs/search/filter.ts';
import { expireWaitingJobs } from '../../../src/jobs/sweep.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJob, addJobType, begin, claimJob, finish, runningJob, step } from '../job-steps.ts';
import { again, endedJob, exhausted, fatal } from './ends.ts';

let test: TestDatabase;
let sql: Sql;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  ({ sql } = test);
  await addJobType(sql);
});
beforeEach(async () => {
  await sql`delete from tenants`;
  tenantId = await addTenant(sql);
});
afterAll(() => test.close());

const ended = (end: Partial<AttemptEnd>, tenant = tenantId): Promise<string> =>
  endedJob(sql, tenant, end);

describe('the end of an attempt', () => {
  it('keeps the error of each attempt, of a job that completes in the end too', async () => {
    const first = await runningJob(sql, tenantId);
    await finish(sql, first, again('http_503', 'try later'));
    const second = await begin(sql, await claimJob(sql, first.jobId));
    await finish(sql, second, again('type_error', 'x is not a function'));
    await finish(sql, await begin(sql, await claimJob(sql, first.jobId)));
    expect(await listAttempts(sql, first.jobId)).toMatchObject([
      { attempt: 1, toState: 'failed', error: { code: 'http_503', message: 'try later' } },
      { attempt: 2, toState: 'failed', error: { code: 'type_error' } },
      { attempt: 3, toState: 'completed', errorCode: null, fingerprint: null, error: null },
    ]);
    expect(
      await sql`select attempt, error_code, ended_by from purser.failures where job_id = ${first.jobId} order by at`,
    ).toMatchObject([
      { attempt: 1, error_code: 'http_503', ended_by: null },
      { attempt: 2, error_code: 'type_error', ended_by: null },
    ]);
  });

  it.each<[string, Partial<AttemptEnd>]>([
    ['a success', {}],
    ['a success with a detail', { detail: { by: 'handler transaction' } }],
    ['a snooze', { toState: 'pending', countsAttempt: false, detail: { reason: 'snoozed: x' } }],
    [
      'a park',
      {
        toState: 'parked',
        neededUsd: '1',
        countsAttempt: false,
        error: { code: 'budget_exceeded', message: 'no' },
      },
    ],
  ])('is no failure where it is %s', async (_what, end) => {
    const jobId = await ended(end);
    expect(await sql`select from purser.failures where job_id = ${jobId}`).toHaveLength(0);
  });

  it('that was cancelled while it failed is no failure', async () => {
    const attempt = await runningJob(sql, tenantId);
    await sql`update purser.in_flight set cancel_requested = '{"by": "ada", "reason": "x"}' where job_id = ${attempt.jobId}`;
    await finish(sql, attempt, again('error', 'x'));
    expect(await sql`select from purser.failures where job_id = ${attempt.jobId}`).toHaveLength(0);
  });

  it('without a message, a code or with text that is no word ends the job all the same', async () => {
    for (const message of [
      '',
      '\u00b7 !! ""',
      'x'.repeat(4_000),
      '\u65e5\u672c\u8a9e \ufffd \u{1f600}',
    ]) {
      await ended(fatal('', message));
    }
    const attempt = await runningJob(sql, tenantId);
    await finish(sql, attempt, again('error', 'kept'));
    const last = await begin(sql, await claimJob(sql, attempt.jobId));
    // A dead letter without an error of its own has the last one.
    expect(await finish(sql, last, { toState: 'dead_letter' })).toBe('applied');
    expect(await countDeadLetters(sql, {})).toBe(5);
  });

  it('goes with its job, and counts a job that expired once', async () => {
    const jobId = await addJob(sql, tenantId);
    await sql`update purser.waiting set give_up_at = now() - interval '1 hour' where job_id = ${jobId}`;
    expect(await expireWaitingJobs(sql)).toBe(1);
    expect(await listDeadLetters(sql, { limit: 1 })).toMatchObject([
      { jobId, errorCode: 'expired', endedBy: 'expired' },
    ]);
    expect(await listAttempts(sql, jobId)).toMatchObject([
      { errorCode: 'expired', error: { code: 'expired' } },
    ]);
    expect(
      await sql`select attempt, ended_by from purser.failures where job_id = ${jobId}`,
    ).toMatchObject([{ attempt: 0, ended_by: 'expired' }]);
    await sql`delete from jobs where id = ${jobId}`;
    expect(await sql`select from purser.failures where job_id = ${jobId}`).toHaveLength(0);
  });
});

describe('groups', () => {
  it('join failures of one cause over tenants, and tell how they ended and whether they become more', async () => {
    const second = await addTenant(sql);
    for (const [tenant, row] of [
      [tenantId, 1],
      [second, 22],
      [second, 333],
    ] as const) {
      await ended(exhausted('error', `row ${row} of "${tenant}" has no price`), tenant);
    }
    const newest = await ended(fatal('error', 'row 4 of "x" has no price'), second);
    const alone = await ended(fatal('http_403', 'refused'));
    await sql`
      update purser.dead_letters set finished_at = now() - interval '90 minutes' - job_id * interval '1 microsecond'
      where error_code = 'error' and job_id <> ${newest}`;
    const { groups, total, cutAt } = await listFailureGroups(sql, 'dead_letters', { limit: 10 });
    expect([total, cutAt]).toEqual([2, undefined]);
    expect(groups).toMatchObject([
      {
        jobType: step,
        errorCode: 'error',
        message: 'row 4 of "x" has no price',
        newestJobId: newest,
        count: 4,
        tenants: 2,
        fatal: 1,
        exhausted: 3,
        expired: 0,
        lastHour: 1,
        hourBefore: 3,
      },
      { errorCode: 'http_403', count: 1, tenants: 1, fatal: 1, newestJobId: alone },
    ]);
    expect(groups[0]?.hours).toEqual([...Array<number>(22).fill(0), 3, 1]);
    expect(Number(groups[0]?.lastSeen) - Number(groups[0]?.firstSeen)).toBeGreaterThan(80 * 60_000);
    const cut = await listFailureGroups(sql, 'dead_letters', { limit: 1 });
    expect([cut.groups.length, cut.total]).toEqual([1, 2]);
    expect(
      await listFailureGroups(sql, 'dead_letters', { limit: 10, code: 'http_403' }),
    ).toMatchObject({
      total: 1,
      groups: [{ newestJobId: alone }],
    });
  });

  it('of two job types are two', async () => {
    await ended(fatal('error', 'same'));
    const [job] = await sql<
      { id: string }[]
    >`select purser.fingerprint_of(${'other_step'}, '1-x') as id`;
    const [mine] = await sql<{ id: string }[]>`select purser.fingerprint_of(${step}, '1-x') as id`;
    expect(job?.id).not.toBe(mine?.id);
  });

  it('over dead letters leave out what was replayed or discarded; over attempts they have it', async () => {
    const [replayed, discarded, listed] = [
      await ended(fatal('error', 'same')),
      await ended(fatal('error', 'same')),
      await ended(fatal('error', 'same')),
    ];
    await replayDeadLetter(sql, replayed, { operator: 'ada', source: 'cli' });
    await discardDeadLetter(sql, discarded, { operator: 'ada', source: 'cli', reason: 'x' });
    const retried = await runningJob(sql, tenantId);
    await finish(sql, retried, again('error', 'same'));
    const of = async (over: 'dead_letters' | 'attempts', filter: JobFilter = {}) =>
      (await listFailureGroups(sql, over, { ...filter, limit: 10 })).groups.map(
        ({ count, fatal: ends, newestJobId }) => ({ count, ends, newestJobId }),
      );
    expect(await of('dead_letters')).toEqual([{ count: 1, ends: 1, newestJobId: listed }]);
    expect(await of('attempts')).toEqual([{ count: 4, ends: 3, newestJobId: retried.jobId }]);
    await sql`update purser.failures set at = now() - interval '25 hours' where job_id <> ${listed}`;
    expect(await of('attempts')).toEqual([{ count: 1, ends: 1, newestJobId: listed }]);
    // Seen first before the time that is looked at.
    const [group] = (await listFailureGroups(sql, 'attempts', { limit: 1 })).groups;
    expect(Number(group?.lastSeen) - Number(group?.firstSeen)).toBeGreaterThan(24 * 3_600_000);
    expect(await of('attempts', { since: new Date(Date.now() - 48 * 3_600_000) })).toMatchObject([
      { count: 4 },
    ]);
    expect(
      await of('attempts', { text: 'sam', tenantId, jobType: step, attempt: 1 }),
    ).toMatchObject([{ count: 1 }]);
  });
});
