/**
 * What the row of an open job says is carried from table to table. Some moves insert by the position of columns, so
 * each column has a value that no other column has.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Queryable, Sql } from '../../../src/db/connect.ts';
import type { AttemptEnd } from '../../../src/jobs/attempts.ts';
import { enqueue } from '../../../src/jobs/enqueue.ts';
import { returnToPending } from '../../../src/jobs/queued.ts';
import { rescueLostAttempts, wakeParkedJobs } from '../../../src/jobs/sweep.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJobType, begin, claimJob, finish, step } from '../job-steps.ts';
import { jobIn, openColumns, placeOf, runningIn } from './state-rows.ts';
import type { Row } from './state-rows.ts';

let test: TestDatabase;
let sql: Sql;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  sql = test.sql;
  await addJobType(sql);
});
beforeEach(async () => {
  await sql`delete from tenants`;
  tenantId = await addTenant(sql);
});
afterAll(() => test.close());

/** A time of the database, as rows show it; `now()` is that of the transaction. */
async function timeOf(tx: Queryable, milliseconds = 0): Promise<unknown> {
  const [row] = await tx<{ time: unknown }[]>`
    select to_jsonb(now() + ${milliseconds} * interval '1 millisecond') as time`;
  return row?.time;
}
const clock = async (): Promise<string> => {
  const [row] = await sql<{ at: string }[]>`select clock_timestamp()::text as at`;
  return row?.at ?? '';
};

const running = (values: Row) => runningIn(sql, tenantId, values);

/** Whether the time to give up moved by what `clock_timestamp() - started_at` was at a time since `since`. */
async function isLater(moved: Row, row: Row, since: string): Promise<boolean> {
  const [found] = await sql<{ ok: boolean }[]>`
    select ${String(row['started_at'])}::text::timestamptz
      + (${String(moved['give_up_at'])}::text::timestamptz - ${String(row['give_up_at'])}::text::timestamptz)
      between ${since}::text::timestamptz and clock_timestamp() as ok`;
  return found?.ok === true;
}

describe.each([
  ['had failed', { failed: true, suspect: false, losses: 0 }],
  ['is a suspect', { failed: false, suspect: true, losses: 17 }],
])('a job that %s', (_what, values) => {
  it('is dispatched with all of its row but the reason to wait', async () => {
    const { jobId, row } = await jobIn(sql, 'waiting', tenantId, values);
    const { entryId } = await claimJob(sql, jobId);
    const { table, row: moved } = await placeOf(sql, jobId);
    expect(table).toBe('in_flight');
    expect(openColumns(moved)).toEqual({ ...row, detail: null });
    expect(moved).toMatchObject({ entry_id: entryId, token: null, alone: false });
  });

  it('becomes due with all of its row', async () => {
    const { jobId, row } = await jobIn(sql, 'later', tenantId, values);
    await sql`select purser.promote_due(100)`;
    expect(await placeOf(sql, jobId)).toEqual({ table: 'waiting', row });
  });

  it('begins with one more attempt, and alone if it is a suspect', async () => {
    const entryId = randomUUID();
    const arranged = await jobIn(sql, 'in_flight', tenantId, { ...values, entry_id: entryId });
    await begin(sql, { jobId: arranged.jobId, entryId });
    const { row } = await placeOf(sql, arranged.jobId);
    expect(openColumns(row)).toEqual({ ...openColumns(arranged.row), attempt: 12 });
    expect(row).toMatchObject({ alone: values.suspect, queued_at: arranged.row['queued_at'] });
  });

  it('goes back from a queue as pending, with the reason', async () => {
    const entryId = randomUUID();
    const { jobId, row } = await jobIn(sql, 'in_flight', tenantId, {
      ...values,
      entry_id: entryId,
    });
    expect(await returnToPending(sql, [{ jobId, entryId }], 'queue entry lost')).toBe(1);
    const detail = { reason: 'queue entry lost' };
    expect(await placeOf(sql, jobId)).toEqual({
      table: 'waiting',
      row: { ...openColumns(row), failed: false, detail },
    });
  });

  it('is taken back from a dead worker with one loss more, and the attempt is not counted', async () => {
    const { jobId, row } = await running(values);
    const since = await clock();
    expect(await rescueLostAttempts(sql)).toMatchObject({ requeued: 1 });
    const { table, row: moved } = await placeOf(sql, jobId);
    expect(table).toBe('waiting');
    expect(moved).toEqual({
      ...openColumns(row),
      attempt: 10,
      failed: false,
      losses: values.losses + 1,
      give_up_at: moved['give_up_at'],
      detail: { reason: 'worker lost', worker: 'worker-1', isolated: false },
    });
    expect(await isLater(moved, row, since)).toBe(true);
  });

  it('that ran alone waits longer, and is a suspect', async () => {
    const { jobId, row } = await running(values);
    await sql`update purser.in_flight set alone = true where job_id = ${jobId}`;
    const since = await clock();
    const delayMs = 1_000 * Math.min(2 ** values.losses, 600);
    const dueAt = await sql.begin(async (tx) => {
      await rescueLostAttempts(tx);
      return { time: await timeOf(tx, delayMs) };
    });
    const { table, row: moved } = await placeOf(sql, jobId);
    expect(table).toBe('later');
    expect(moved).toEqual({
      ...openColumns(row),
      scheduled_for: dueAt.time,
      attempt: 10,
      failed: false,
      losses: values.losses + 1,
      suspect: true,
      give_up_at: moved['give_up_at'],
      detail: { reason: 'worker lost', worker: 'worker-1', isolated: true },
    });
    expect(await isLater(moved, row, since)).toBe(true);
  });

  it('is woken with a new time to give up', async () => {
    const { jobId, row } = await jobIn(sql, 'parked', tenantId, values);
    const times = await sql.begin(async (tx) => {
      expect(await wakeParkedJobs(tx)).toBe(1);
      return { scheduled_for: await timeOf(tx), give_up_at: await timeOf(tx, 86_400_000) };
    });
    expect(await placeOf(sql, jobId)).toEqual({
      table: 'waiting',
      row: { ...row, ...times, failed: false, detail: { reason: 'parked until now' } },
    });
  });

  it.each([
    ['waiting', 'due', 0],
    ['waiting', 'not yet due', 60_000],
    ['later', 'due', 0],
    ['later', 'not yet due', 60_000],
  ] as const)(
    'in %s is replaced by what is %s, and keeps its past',
    async (from, _when, waitMs) => {
      const dedupKey = randomUUID();
      const { jobId, row } = await jobIn(sql, from, tenantId, values, { dedupKey });
      const payload = { text: 'new' };
      const changed = await sql.begin(async (tx) => {
        const due = new Date(Date.now() + waitMs);
        const runAt = waitMs === 0 ? {} : { runAt: due };
        const request = { tenantId, jobType: step, payload, dedupKey, ...runAt };
        const other = { priority: 3, group: 'user:43', onDuplicate: 'replace' } as const;
        const answer = await enqueue(tx, { ...request, ...other });
        expect(answer).toMatchObject({ jobId, replaced: true });
        const start = waitMs === 0 ? sql`now()` : sql`${due.toISOString()}::text::timestamptz`;
        const [times] = await tx<Row[]>`
        select to_jsonb(${start}) as scheduled_for, to_jsonb(${start} + interval '24 hours') as give_up_at`;
        return { ...times };
      });
      expect(await placeOf(sql, jobId)).toEqual({
        table: waitMs === 0 ? 'waiting' : 'later',
        row: { ...row, ...changed, priority: 3, group_name: 'user:43', payload_bytes: 15 },
      });
    },
  );

  const error = { code: 'newer', message: 'failed again' };
  const said = { detail: { reason: 'of the end' } };
  const uncounted = { toState: 'pending', countsAttempt: false } as const;
  it.each<[string, Partial<AttemptEnd>, string, Row]>([
    ['failed', { toState: 'failed', error, afterMs: 0 }, 'waiting', {}],
    ['failed, to wait', { toState: 'failed', error, afterMs: 60_000 }, 'later', {}],
    ['pending', { ...uncounted }, 'waiting', {}],
    ['pending, to wait', { ...uncounted, afterMs: 60_000 }, 'later', {}],
    ['pending with its thread', { ...uncounted, lost: 'shared' }, 'waiting', { losses: 1 }],
    [
      'pending with its process',
      { ...uncounted, lost: 'isolated' },
      'waiting',
      { losses_alone: 1 },
    ],
    ['parked', { toState: 'parked', neededUsd: '0.000000029', countsAttempt: false }, 'parked', {}],
  ])('ends as %s', async (_name, end, to, more) => {
    const { jobId, token, row } = await running(values);
    const since = await clock();
    const until = end.toState === 'parked' ? { until: new Date('2020-07-08T09:10:11Z') } : {};
    const dueAt = await sql.begin(async (tx) => {
      const answer = await finish(tx, { jobId, token }, { ...end, ...until, ...said });
      expect(answer).toBe('applied');
      const [found] = await tx<{ time: unknown }[]>`
        select to_jsonb('2020-07-08T09:10:11Z'::timestamptz) as time`;
      if (end.toState === 'parked') return found ?? { time: null };
      return {
        time: end.afterMs === undefined ? row['scheduled_for'] : await timeOf(tx, end.afterMs),
      };
    });
    const { table, row: moved } = await placeOf(sql, jobId);
    expect(table).toBe(to);
    expect(moved).toEqual({
      ...openColumns(row),
      ...said,
      scheduled_for: dueAt.time,
      attempt: end.countsAttempt === false ? 10 : 11,
      failed: end.toState === 'failed',
      losses: values.losses + Number(more['losses'] ?? 0),
      losses_alone: 19 + Number(more['losses_alone'] ?? 0),
      needed_usd: end.toState === 'parked' ? 0.000000029 : null,
      last_error: end.error ?? row['last_error'],
      give_up_at: end.toState === 'parked' ? row['give_up_at'] : moved['give_up_at'],
    });
    expect(end.toState === 'parked' || (await isLater(moved, row, since))).toBe(true);
  });
});

it.each([
  ['for the first time', { first_parked_at: null }],
  ['again', {}],
])('a job that parks %s may wait until 62 days after the first time', async (_when, values) => {
  const soon = { ...values, give_up_at: '2019-04-05T06:07:08.000009Z' };
  const { jobId, token, row } = await running(soon);
  const parked = { toState: 'parked', neededUsd: '1', countsAttempt: false } as const;
  const times = await sql.begin(async (tx) => {
    await finish(tx, { jobId, token }, parked);
    const [found] = await tx<Row[]>`
      select to_jsonb(f.at) as first_parked_at, to_jsonb(f.at + interval '62 days') as give_up_at
      from coalesce((${JSON.stringify(row)}::text::jsonb->>'first_parked_at')::timestamptz, now()) f (at)`;
    return { ...found };
  });
  expect((await placeOf(sql, jobId)).row).toMatchObject(times);
});
