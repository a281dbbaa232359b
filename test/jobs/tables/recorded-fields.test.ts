/** What the end of an attempt or of a job writes of the row that it deletes: into the job, and into its history. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import type { Database } from '../../../src/db/database.ts';
import { tenantSql } from '../../../src/db/tenant.ts';
import type { AttemptEnd } from '../../../src/jobs/attempts.ts';
import { requestCancel } from '../../../src/jobs/cancel.ts';
import { returnToPending } from '../../../src/jobs/queued.ts';
import { expireWaitingJobs, rescueLostAttempts, wakeParkedJobs } from '../../../src/jobs/sweep.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJobType, finish } from '../job-steps.ts';
import { jobIn, runningIn } from './state-rows.ts';
import type { Row } from './state-rows.ts';

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
  await sql`delete from tenants`;
  tenantId = await addTenant(sql);
});
afterAll(() => test.close());

/** The only row of the job's history, without its id and time. */
async function recorded(jobId: string): Promise<Row> {
  const [row, ...others] = await sql<{ row: Row }[]>`
    select to_jsonb(h) - 'id' - 'ended_at' as row from purser.job_history h where h.job_id = ${jobId}`;
  if (row === undefined || others.length > 0) throw new Error('the history has not one row');
  return row.row;
}

async function endOf(jobId: string): Promise<Row> {
  const [row] = await sql<Row[]>`
    select outcome, attempt, to_jsonb(scheduled_for) as scheduled_for, to_jsonb(queued_at) as queued_at,
      to_jsonb(started_at) as started_at, error, end_detail
    from jobs where id = ${jobId} and finished_at is not null`;
  if (row === undefined) throw new Error(`job ${jobId} has not ended`);
  return { ...row };
}

const error = { code: 'newer', message: 'failed again' };
const request = { by: 'alice', reason: 'wrong file' };
const said = { reason: 'of the end' };
const someFingerprint: unknown = expect.stringMatching(/^1-[0-9a-f]{16}$/);
const ofNewer = { error_code: 'newer', fingerprint: someFingerprint, error };
const notOfAnAttempt = { started_at: null, worker_id: null, token: null };

describe.each([true, false])('of a job that was tried before (%s)', (failed) => {
  const values = { failed, suspect: !failed };
  const last = { code: 'earlier', message: 'failed before' };

  /** What the history says of a row that the move of it deletes. */
  const historyOf = (row: Row, more: Row): Row => ({
    job_id: row['job_id'],
    tenant_id: tenantId,
    from_state: null,
    attempt: 11,
    counted: true,
    retried: failed,
    queued_at: row['queued_at'] ?? null,
    started_at: row['started_at'] ?? null,
    worker_id: row['worker_id'] ?? null,
    token: row['token'] ?? null,
    error_code: null,
    fingerprint: null,
    error: null,
    detail: null,
    ...more,
  });
  /** What a job says of the row that its end deleted. */
  const jobOf = (row: Row, more: Row): Row => ({
    attempt: 11,
    scheduled_for: row['scheduled_for'],
    queued_at: row['queued_at'] ?? null,
    started_at: row['started_at'] ?? null,
    error: last,
    end_detail: null,
    ...more,
  });

  it.each<[string, Partial<AttemptEnd>, Row]>([
    ['completed', {}, {}],
    ['completed', { detail: said }, { detail: said }],
    ['dead_letter', { error, detail: said }, { detail: said, ...ofNewer }],
    ['cancelled', { detail: said, countsAttempt: false }, { detail: said, counted: false }],
  ])('the end of an attempt as %s (%j)', async (outcome, end, more) => {
    const { jobId, token, row } = await runningIn(sql, tenantId, values);
    const toState = outcome as AttemptEnd['toState'];
    expect(await finish(sql, { jobId, token }, { ...end, toState })).toBe('applied');
    expect(await recorded(jobId)).toEqual(historyOf(row, { to_state: outcome, ...more }));
    expect(await endOf(jobId)).toEqual(
      jobOf(row, {
        outcome,
        attempt: end.countsAttempt === false ? 10 : 11,
        error: end.error ?? last,
        end_detail: end.detail ?? null,
      }),
    );
  });

  it('the completion by a handler', async () => {
    const { jobId, token, row } = await runningIn(sql, tenantId, values);
    await tenantSql(database.tenant, { token }).begin(async () => 'done', { complete: true });
    const detail = { by: 'handler transaction' };
    expect(await recorded(jobId)).toEqual(historyOf(row, { to_state: 'completed', detail }));
    expect(await endOf(jobId)).toEqual(jobOf(row, { outcome: 'completed', end_detail: detail }));
  });

  it('the rescue of a job that was to be cancelled', async () => {
    const { jobId, row } = await runningIn(sql, tenantId, values);
    expect((await requestCancel(sql, { jobId, ...request })).outcome).toBe('requested');
    expect(await rescueLostAttempts(sql)).toEqual({ requeued: 0, cancelled: 1 });
    const more = { to_state: 'cancelled', token: null, error_code: 'worker_lost', detail: request };
    expect(await recorded(jobId)).toEqual(historyOf(row, more));
    expect(await endOf(jobId)).toEqual(jobOf(row, { outcome: 'cancelled', end_detail: request }));
  });

  it('the rescue of a job that runs again', async () => {
    const { jobId, row } = await runningIn(sql, tenantId, values);
    expect(await rescueLostAttempts(sql)).toEqual({ requeued: 1, cancelled: 0 });
    const detail = { reason: 'worker lost', worker: 'worker-1', isolated: false };
    const more = { to_state: 'pending', token: null, error_code: 'worker_lost', detail };
    expect(await recorded(jobId)).toEqual(historyOf(row, { ...more, counted: false }));
  });

  it.each<[string, Partial<AttemptEnd>, Row]>([
    ['failed', { toState: 'failed', error, afterMs: 0 }, ofNewer],
    ['pending', { toState: 'pending', countsAttempt: false }, { counted: false }],
    ['parked', { toState: 'parked', neededUsd: '1', countsAttempt: false }, { counted: false }],
  ])('the end of an attempt as %s', async (to_state, end, more) => {
    const { jobId, token, row } = await runningIn(sql, tenantId, values);
    expect(await finish(sql, { jobId, token }, end)).toBe('applied');
    expect(await recorded(jobId)).toEqual(historyOf(row, { to_state, ...more }));
  });

  const waits = failed ? 'failed' : 'pending';
  it.each([
    ['waiting', waits],
    ['later', waits],
    ['parked', 'parked'],
    ['in_flight', 'queued'],
  ] as const)('a cancelled job, and one that gives up, of %s', async (table, from_state) => {
    const cancelled = await jobIn(sql, table, tenantId, values);
    const answer = await requestCancel(sql, { jobId: cancelled.jobId, ...request });
    expect(answer.outcome).toBe('cancelled');
    const of = { from_state, ...notOfAnAttempt };
    expect(await recorded(cancelled.jobId)).toEqual(
      historyOf(cancelled.row, { ...of, to_state: 'cancelled', detail: request }),
    );
    expect(await endOf(cancelled.jobId)).toEqual(
      jobOf(cancelled.row, { outcome: 'cancelled', end_detail: request }),
    );

    const past = { give_up_at: '2020-02-03T04:05:06.000007Z' };
    const late = await jobIn(sql, table, tenantId, { ...values, ...past });
    expect(await expireWaitingJobs(sql)).toBe(1);
    const [outcome, detail] = ['dead_letter', { reason: 'expired' }];
    const expired = {
      code: 'expired',
      message: expect.stringContaining(`in state ${from_state} `),
    };
    const ofExpired = { error_code: 'expired', fingerprint: someFingerprint, error: expired };
    expect(await recorded(late.jobId)).toEqual(
      historyOf(late.row, { ...of, to_state: outcome, ...ofExpired, detail }),
    );
    expect(await endOf(late.jobId)).toEqual(
      jobOf(late.row, { outcome, error: expired, end_detail: detail }),
    );
  });

  it('a job that goes back from a queue, and one that is woken', async () => {
    const entryId = randomUUID();
    const queued = await jobIn(sql, 'in_flight', tenantId, { ...values, entry_id: entryId });
    await returnToPending(sql, [{ jobId: queued.jobId, entryId }], 'worker full');
    const to = { to_state: 'pending', ...notOfAnAttempt };
    expect(await recorded(queued.jobId)).toEqual(
      historyOf(queued.row, { ...to, from_state: 'queued', detail: { reason: 'worker full' } }),
    );
    const parked = await jobIn(sql, 'parked', tenantId, values);
    expect(await wakeParkedJobs(sql)).toBe(1);
    expect(await recorded(parked.jobId)).toEqual(
      historyOf(parked.row, {
        ...to,
        from_state: 'parked',
        retried: false,
        detail: { reason: 'parked until now' },
      }),
    );
  });
});
