/**
 * A changed interval, by cohort, schedule or override, neither doubles nor drops a run; a pause is no outage. The next
 * run after a change is the first tick half an interval after the last run.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { oneSchedule, ran, scheduled, scheduleOf } from './one-schedule.ts';
import type { OneSchedule } from './one-schedule.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await freshDatabase();
});
afterAll(() => test.close());

const day = (time: string) => `2031-05-06T${time}Z`;

/** Every three hours; ran at `last`. */
async function everyThreeHours(last: string): Promise<OneSchedule> {
  const one = await oneSchedule(test.sql, { cron: '0 */3 * * *', missed: 'all' });
  await one.claimAt(day(last));
  return one;
}
const changeTo = (cron: string, zone = 'UTC') =>
  test.sql`update schedules set cron = ${cron}, zone = ${zone} where job_type = ${scheduled}`;

describe('after a change', () => {
  it('to a shorter interval the newest tick runs at once, when half of it has passed', async () => {
    const one = await everyThreeHours('09:00:01');
    await changeTo('0 * * * *');
    await one.claimAt(day('11:20:00'));
    expect(await one.record()).toEqual([ran(day('09:00:00')), ran(day('11:00:00'))]);
    expect(await one.nextDue()).toBe(day('12:00:00'));
  });

  it('to a shorter interval the next tick is waited for, when less has passed', async () => {
    const one = await everyThreeHours('09:00:01');
    await changeTo('30 * * * *');
    expect(await one.claimAt(day('09:10:00'))).toMatchObject({ claimed: 1, created: 0, missed: 0 });
    expect(await one.nextDue()).toBe(day('09:30:00'));
    await one.claimAt(day('09:30:01'));
    expect(await one.record()).toEqual([ran(day('09:00:00')), ran(day('09:30:00'))]);
  });

  it('a tick less than half an interval after the last run is left out, and is not missed', async () => {
    const one = await everyThreeHours('09:00:01');
    await changeTo('20 * * * *');
    await one.claimAt(day('09:10:00'));
    // 09:20 would be 20 minutes after the last run.
    expect(await one.nextDue()).toBe(day('10:20:00'));
    await one.claimAt(day('10:20:01'));
    expect(await one.record()).toEqual([ran(day('09:00:00')), ran(day('10:20:00'))]);
  });

  it('to a longer interval no run is dropped', async () => {
    const one = await everyThreeHours('09:00:01');
    await changeTo('0 0 * * *');
    await one.claimAt(day('09:10:00'));
    expect(await one.nextDue()).toBe('2031-05-07T00:00:00Z');
    await one.claimAt('2031-05-07T00:00:02Z');
    expect(await one.jobs()).toEqual([day('09:00:00'), '2031-05-07T00:00:00Z']);
  });

  it('of the zone the tick in the new zone is taken', async () => {
    const one = await oneSchedule(test.sql, { cron: '0 9 * * *' });
    await one.claimAt(day('09:00:01'));
    await changeTo('0 9 * * *', 'America/New_York');
    await one.claimAt(day('09:05:00'));
    // 13:00Z is 9:00 in New York, four hours after the last run: less than half a day.
    expect(await one.nextDue()).toBe('2031-05-07T13:00:00Z');
  });

  it('and back again within the same interval, the run stays where it was', async () => {
    const one = await everyThreeHours('09:00:01');
    await changeTo('*/5 * * * *');
    await changeTo('0 */3 * * *');
    await one.claimAt(day('09:10:00'));
    expect(await one.nextDue()).toBe(day('12:00:00'));
    expect(await one.jobs()).toEqual([day('09:00:00')]);
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'at any time the gaps stay between half and one and a half intervals (seed %i)',
    async (seed) => {
      let state = seed * 7_919;
      const random = (below: number) => {
        state = (state * 48_271) % 2_147_483_647;
        return state % below;
      };
      const intervals = [1, 2, 3, 6];
      const one = await oneSchedule(test.sql, { cron: '0 * * * *', missed: 'once' });
      const start = new Date(day('00:00:00')).getTime();
      let hoursNow = 1;
      const gaps: number[] = [];
      for (let minute = 1; minute < 48 * 60; minute += 7) {
        await one.claimAt(new Date(start + minute * 60_000).toISOString());
        if (random(40) === 0) {
          hoursNow = intervals[random(intervals.length)] ?? 1;
          await changeTo(`${random(60)} */${hoursNow} * * *`);
        }
      }
      const runs = (await one.jobs()).map((run) => new Date(run).getTime());
      for (let n = 1; n < runs.length; n += 1)
        gaps.push(((runs[n] ?? 0) - (runs[n - 1] ?? 0)) / 3_600_000);
      // By the shortest and the longest of the intervals that there were.
      expect(Math.min(...gaps)).toBeGreaterThanOrEqual(0.5);
      expect(Math.max(...gaps)).toBeLessThanOrEqual(9);
      expect((await one.record()).every(({ missed }) => missed === 0)).toBe(true);
    },
  );
});

describe('a tenant', () => {
  const bothCohorts = async (): Promise<OneSchedule> => {
    const one = await everyThreeHours('09:00:01');
    await test.sql`
      insert into schedules (job_type, cohort, cron) values
        (${scheduled}, 'active', '0 * * * *'), (${scheduled}, 'dormant', '0 0 * * *')`;
    return one;
  };

  it('whose plan changes the cohort is brought forward, and runs by the schedule of the new one', async () => {
    const one = await bothCohorts();
    await test.sql`update tenants set plan = 'growth' where id = ${one.tenantId}`;
    await one.claimAt(day('09:10:00'));
    expect(await one.nextDue()).toBe(day('10:00:00'));
  });

  it('whose activity changes the cohort, too; other activity changes nothing', async () => {
    const one = await bothCohorts();
    await test.sql`update tenants set plan = 'free', last_active_at = now() - interval '30 days' where id = ${one.tenantId}`;
    await one.claimAt(day('09:10:00'));
    expect(await one.nextDue()).toBe('2031-05-07T00:00:00Z');
    const xmin = async () =>
      (
        await test.sql`select xmin::text from tenant_schedules where tenant_id = ${one.tenantId}`
      )[0];
    const before = await xmin();
    await test.sql`update tenants set last_active_at = now() - interval '20 days' where id = ${one.tenantId}`;
    expect(await xmin()).toEqual(before);
    await test.sql`update tenants set last_active_at = now() where id = ${one.tenantId}`;
    expect(await xmin()).not.toEqual(before);
  });

  it('that becomes dormant by time alone is found at its next claim', async () => {
    const one = await bothCohorts();
    await test.sql`update tenants set plan = 'free', last_active_at = '2031-05-06T08:00:00Z' where id = ${one.tenantId}`;
    await one.claimAt(day('10:00:01'));
    expect(
      (await test.sql`select cohort from schedule_ticks order by bucket desc limit 1`)[0],
    ).toEqual({
      cohort: 'active',
    });
    await one.claimAt('2031-05-13T09:00:00Z');
    expect(await one.nextDue()).toBe('2031-05-14T00:00:00Z');
  });

  it('whose first run is delayed stays so when its plan changes', async () => {
    const one = await oneSchedule(test.sql, { cron: '0 * * * *' });
    await test.sql`update tenant_schedules set next_due = '2040-01-01'`;
    await test.sql`update tenants set plan = 'free' where id = ${one.tenantId}`;
    expect(await one.nextDue()).toBe('2040-01-01T00:00:00Z');
  });

  it('that has never run is due at once, with any policy and before its splay', async () => {
    const splayed = { missed: 'skip', splay_seconds: 3_500 };
    const one = await oneSchedule(test.sql, { cron: '0 * * * *', ...splayed });
    await one.claimAt(day('09:00:01'));
    expect(await one.jobs()).toEqual([day('09:00:00')]);
    const other = await oneSchedule(test.sql, { cron: '0 0 1 * *', ...splayed });
    await other.claimAt(day('09:10:00'));
    expect(await other.jobs()).toEqual(['2031-05-01T00:00:00Z']);
  });

  it('may override expression, zone and policy', async () => {
    const one = await everyThreeHours('09:00:01');
    await test.sql`insert into tenants (id, plan) values ('other', 'pro')`;
    const other = scheduleOf(test.sql, 'other');
    await test.sql`
      update tenant_schedules set cron = '0 * * * *', missed = 'once' where tenant_id = ${one.tenantId}`;
    await one.claimAt(day('14:00:01'));
    expect(await other.jobs()).toEqual([day('12:00:00')]);
    expect(await one.jobs()).toEqual([day('09:00:00'), day('14:00:00')]);
    await one.claimAt(day('18:00:01'));
    expect(await one.jobs()).toEqual([day('09:00:00'), day('14:00:00'), day('18:00:00')]);
    expect(await other.jobs()).toEqual([day('12:00:00'), day('15:00:00'), day('18:00:00')]);
  });

  it('whose override is invalid is left out alone, and is looked at again in a while', async () => {
    const one = await everyThreeHours('09:00:01');
    await test.sql`insert into tenants (id, plan) values ('other', 'pro')`;
    await test.sql`update tenant_schedules set cron = 'nonsense' where tenant_id = ${one.tenantId}`;
    const invalid: string[] = [];
    const onInvalid = ({ cron }: { cron: string }) => void invalid.push(cron);
    expect(await one.claimAt(day('12:00:01'), { onInvalid })).toMatchObject({
      created: 1,
      putOff: 1,
    });
    expect(await one.claimAt(day('12:01:00'), { onInvalid })).toMatchObject({
      claimed: 0,
      putOff: 0,
    });
    expect(invalid).toEqual(['nonsense']);
    await test.sql`update tenant_schedules set cron = null where tenant_id = ${one.tenantId}`;
    expect(await one.claimAt(day('12:02:00'))).toMatchObject({ created: 1 });
    expect(await one.jobs()).toEqual([day('09:00:00'), day('12:00:00')]);
  });
});

it('a schedule that is added, by SQL or by code, reaches the tenants that are there', async () => {
  const one = await oneSchedule(test.sql, { cron: '0 * * * *' });
  expect((await test.sql`select tenant_id from tenant_schedules`).length).toBe(1);
  await test.sql`insert into tenants (id, plan) values ('active-one', 'growth')`;
  expect(await one.claimAt(day('02:00:01'))).toMatchObject({ created: 1, putOff: 1 });
  // Its cohort had no schedule; now it has one, and is not looked at five minutes later only.
  await test.sql`insert into schedules (job_type, cohort, cron) values (${scheduled}, 'active', '0 * * * *')`;
  expect(await one.claimAt(day('02:00:03'))).toMatchObject({ created: 1 });
});
