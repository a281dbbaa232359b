/** What becomes of ticks that nobody claimed in time, and their record. All schedules here tick on the hour. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { oneSchedule, ran } from './one-schedule.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await freshDatabase();
});
afterAll(() => test.close());

const hour = (n: number) => `2031-05-06T${String(n).padStart(2, '0')}:00:00Z`;
const hours = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, n) => hour(from + n));

/** Ran at 02:00; then no scheduler was there for the ticks of 3 to 7. */
async function away(columns: Readonly<Record<string, string | number>>) {
  const one = await oneSchedule(test.sql, { cron: '0 * * * *', ...columns });
  await one.claimAt('2031-05-06T02:00:01Z');
  expect(await one.jobs()).toEqual([hour(2)]);
  return one;
}

describe('a scheduler that was away for five ticks', () => {
  it('once: makes a job for the newest tick and records the others', async () => {
    const one = await away({ missed: 'once' });
    expect(await one.claimAt('2031-05-06T07:20:00Z')).toMatchObject({ created: 1, missed: 4 });
    expect(await one.jobs()).toEqual([hour(2), hour(7)]);
    expect(await one.record()).toEqual([
      ran(hour(2)),
      { ...ran(hour(7)), missed: 4, from: hour(3), until: hour(6), reason: 'once' },
    ]);
    expect(await one.nextDue()).toBe(hour(8));
  });

  it('skip: makes no job when it is late, records all of them and goes on with the next tick', async () => {
    const one = await away({ missed: 'skip' });
    expect(await one.claimAt('2031-05-06T07:20:00Z')).toMatchObject({ created: 0, missed: 5 });
    expect(await one.record()).toEqual([
      ran(hour(2)),
      {
        ...ran(hour(7)),
        outcome: 'missed',
        missed: 5,
        from: hour(3),
        until: hour(7),
        reason: 'skip',
      },
    ]);
    await one.claimAt('2031-05-06T08:00:02Z');
    expect(await one.jobs()).toEqual([hour(2), hour(8)]);
  });

  it('skip: makes the job of a tick that is late by less than five minutes', async () => {
    const one = await away({ missed: 'skip' });
    await one.claimAt('2031-05-06T07:04:59Z');
    expect((await one.record())[1]).toMatchObject({ outcome: 'job', missed: 4, reason: 'skip' });
    await one.claimAt('2031-05-06T08:05:01Z');
    expect(await one.jobs()).toEqual([hour(2), hour(7)]);
  });

  it('skip: of a schedule that ticks each minute, a tick is late after half a minute', async () => {
    const one = await oneSchedule(test.sql, { cron: '* * * * *', missed: 'skip' });
    await one.claimAt('2031-05-06T02:00:01Z');
    await one.claimAt('2031-05-06T02:01:29Z');
    await one.claimAt('2031-05-06T02:02:31Z');
    expect((await one.record()).map(({ outcome }) => outcome)).toEqual(['job', 'job', 'missed']);
  });

  it('all: makes one job for each tick', async () => {
    const one = await away({ missed: 'all' });
    expect(await one.claimAt('2031-05-06T07:20:00Z')).toMatchObject({ created: 5, missed: 0 });
    expect(await one.jobs()).toEqual(hours(2, 7));
    expect(await one.record()).toEqual(hours(2, 7).map(ran));
    expect(await one.claimAt('2031-05-06T07:30:00Z')).toMatchObject({ claimed: 0 });
  });

  it('all, three at most: makes jobs for the newest three and records the others', async () => {
    const one = await away({ missed: 'all', missed_most: 3 });
    await one.claimAt('2031-05-06T07:20:00Z');
    expect(await one.jobs()).toEqual([hour(2), ...hours(5, 7)]);
    expect(await one.record()).toEqual([
      ran(hour(2)),
      { ...ran(hour(5)), missed: 2, from: hour(3), until: hour(4), reason: 'more_than_most' },
      ran(hour(6)),
      ran(hour(7)),
    ]);
  });
});

it('all: many ticks of one tenant are made in several claims, in order, none twice', async () => {
  const one = await oneSchedule(test.sql, { cron: '* * * * *', missed: 'all', missed_most: 100 });
  await one.claimAt('2031-05-06T02:00:01Z');
  const now = '2031-05-06T05:00:10Z';
  const made: number[] = [];
  for (let claim = 0; claim < 6; claim += 1) made.push((await one.claimAt(now)).created);
  expect(made).toEqual([25, 25, 25, 25, 0, 0]);
  const jobs = await one.jobs();
  expect(jobs).toEqual(jobs.toSorted());
  expect(jobs.slice(0, 2)).toEqual(['2031-05-06T02:00:00Z', '2031-05-06T03:21:00Z']);
  expect(jobs.at(-1)).toBe('2031-05-06T05:00:00Z');
  expect(new Set(jobs).size).toBe(101);
  const missed = (await one.record()).filter((tick) => tick.missed > 0);
  expect(missed).toEqual([
    {
      ...ran('2031-05-06T03:21:00Z'),
      missed: 80,
      from: '2031-05-06T02:01:00Z',
      until: '2031-05-06T03:20:00Z',
      reason: 'more_than_most',
    },
  ]);
});

it('a schedule of each minute that was away for a week leaves one record with the whole range', async () => {
  const one = await oneSchedule(test.sql, { cron: '* * * * *', missed: 'once' });
  await one.claimAt('2031-05-06T02:00:01Z');
  await one.claimAt('2031-05-13T02:00:01Z');
  expect(await one.record()).toEqual([
    ran('2031-05-06T02:00:00Z'),
    {
      ...ran('2031-05-13T02:00:00Z'),
      missed: 7 * 24 * 60 - 1,
      from: '2031-05-06T02:01:00Z',
      until: '2031-05-13T01:59:00Z',
      reason: 'once',
    },
  ]);
});

it('a claim makes few more jobs than its limit, whatever the tenants have missed', async () => {
  const one = await oneSchedule(test.sql, { cron: '* * * * *', missed: 'all', missed_most: 100 });
  await test.sql`insert into tenants (id, plan) select 'all-' || n, 'pro' from generate_series(1, 9) n`;
  await one.claimAt('2031-05-06T02:00:01Z');
  const { created } = await one.claimAt('2031-05-06T05:00:10Z', { limit: 30 });
  expect(created).toBe(50);
});

it('a tick is recorded with its due time, the time of the claim, the scheduler and its job', async () => {
  const one = await oneSchedule(test.sql, { cron: '0 * * * *', splay_seconds: 600 });
  await one.claimAt('2031-05-06T02:00:01Z');
  const due = await one.nextDue();
  await one.claimAt('2031-05-06T03:15:00Z', { claimedBy: 'scheduler-2' });
  const [tick] = await test.sql`
    select t.*, j.id = t.job_id as "hasJob" from schedule_ticks t join jobs j on j.id = t.job_id
    where bucket = ${hour(3)}`;
  expect(tick).toMatchObject({
    due_at: new Date(due),
    claimed_by: 'scheduler-2',
    cohort: 'high_value',
    deduplicated: 0,
    hasJob: true,
  });
  expect(tick?.['claimed_at'].toISOString()).toMatch(/^2031-05-06T03:1[45]/);
});

it('a tick is not due before the splay of its tenant', async () => {
  const one = await oneSchedule(test.sql, { cron: '0 * * * *', splay_seconds: 1_800 });
  // A known tenant, whose splay is 20 minutes or more.
  const [slow] = await test.sql`
    select id from (select 'slow-' || n as id from generate_series(1, 100) n) t
    where purser.splay_of(id, 1800, 3600) > interval '20 minutes' limit 1`;
  await test.sql`insert into tenants (id, plan) values (${slow?.['id']}, 'pro')`;
  await one.claimAt('2031-05-06T02:10:00Z');
  // An hour late: the tick of 4:00 is not due yet for the slow tenant, so the one of 3:00 runs.
  await one.claimAt('2031-05-06T04:10:00Z');
  const rows = await test.sql`
    select bucket from schedule_ticks where tenant_id = ${slow?.['id']} order by bucket`;
  expect(rows.map((row) => row['bucket'].getUTCHours())).toEqual([2, 3]);
});

it('a splay that is longer than the interval is taken as shorter than it', async () => {
  const one = await oneSchedule(test.sql, { cron: '* * * * *', splay_seconds: 86_400 });
  await one.claimAt('2031-05-06T02:00:01Z');
  const due = new Date(await one.nextDue()).getTime();
  expect(due - new Date('2031-05-06T02:01:00Z').getTime()).toBeLessThan(60_000);
  expect(due).toBeGreaterThanOrEqual(new Date('2031-05-06T02:01:00Z').getTime());
});

it('a tick at or before the last one never makes a job, whatever next_due says', async () => {
  const one = await oneSchedule(test.sql, { cron: '0 * * * *', missed: 'all' });
  await one.claimAt('2031-05-06T07:00:01Z');
  await test.sql`delete from purser.ticks`;
  await test.sql`update tenant_schedules set next_due = '2031-05-06T01:00:00Z', next_bucket = '2031-05-06T01:00:00Z'`;
  // The clock of the database went back, too.
  expect(await one.claimAt('2031-05-06T06:30:00Z')).toMatchObject({ created: 0 });
  expect(await one.claimAt('2031-05-06T07:30:00Z')).toMatchObject({ created: 0 });
  await one.claimAt('2031-05-06T08:00:01Z');
  expect(await one.jobs()).toEqual([hour(7), hour(8)]);
});

it('all: many expressions that were away make every job that they may', async () => {
  const one = await oneSchedule(test.sql, { cron: '* * * * *', missed: 'all', missed_most: 100 });
  const zones = Array.from({ length: 23 }, (_, n) => `Etc/GMT${n < 12 ? '+' : '-'}${(n % 12) + 1}`);
  await test.sql`insert into tenants (id, plan) select z, 'pro' from unnest(${zones}::text[]) z`;
  await test.sql`update tenant_schedules set zone = tenant_id where tenant_id = any(${zones})`;
  const rounds = async (time: string) => {
    while ((await one.claimAt(time)).claimed > 0);
  };
  await rounds('2031-05-06T02:00:01Z');
  await rounds('2031-05-06T03:40:10Z');
  const made = await test.sql`
    select distinct count(*)::int as jobs, sum(missed)::int as missed from schedule_ticks group by tenant_id`;
  expect(made).toEqual([{ jobs: 101, missed: 0 }]);
});
