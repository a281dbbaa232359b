/** A pause is no outage: after it the next tick follows, and those that passed are recorded as missed. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { oneSchedule, ran, scheduled } from './one-schedule.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await freshDatabase();
});
afterAll(() => test.close());

const day = (time: string) => `2031-05-06T${time}Z`;

describe('a pause', () => {
  const resumedAt = (time: string) =>
    test.sql`update tenant_schedules set resumed_at = ${day(time)} where resumed_at is not null`;

  it('of one tenant is no outage: the next tick follows, and what passed is recorded', async () => {
    const one = await oneSchedule(test.sql, { cron: '0 * * * *', missed: 'all' });
    await one.claimAt(day('02:00:01'));
    await test.sql`
      update tenant_schedules set enabled = false, paused_by = 'ann', paused_reason = 'moves' where tenant_id = ${one.tenantId}`;
    expect(await one.claimAt(day('07:20:00'))).toMatchObject({ claimed: 0 });
    await test.sql`update tenant_schedules set enabled = true`;
    const [row] = await test.sql`select paused_by, paused_reason, paused_at from tenant_schedules`;
    expect(row).toEqual({ paused_by: null, paused_reason: null, paused_at: null });
    await resumedAt('07:20:00');
    expect(await one.claimAt(day('07:20:01'))).toMatchObject({ created: 0, missed: 5 });
    expect(await one.record()).toEqual([
      ran(day('02:00:00')),
      {
        ...ran(day('07:00:00')),
        outcome: 'missed',
        missed: 5,
        from: day('03:00:00'),
        until: day('07:00:00'),
        reason: 'paused',
      },
    ]);
    await one.claimAt(day('08:00:01'));
    expect(await one.jobs()).toEqual([day('02:00:00'), day('08:00:00')]);
  });

  it('that ends just before a tick lets this tick run, also when it is claimed late', async () => {
    const one = await oneSchedule(test.sql, { cron: '0 * * * *' });
    await one.claimAt(day('02:00:01'));
    await test.sql`update tenant_schedules set enabled = false`;
    await test.sql`update tenant_schedules set enabled = true`;
    await resumedAt('03:59:59');
    await one.claimAt(day('04:00:01'));
    expect(await one.record()).toEqual([
      ran(day('02:00:00')),
      {
        ...ran(day('03:00:00')),
        outcome: 'missed',
        missed: 1,
        from: day('03:00:00'),
        until: day('03:00:00'),
        reason: 'paused',
      },
      ran(day('04:00:00')),
    ]);
  });

  it('of a schedule keeps its tenants, and holds up nobody else', async () => {
    const one = await oneSchedule(test.sql, { cron: '0 * * * *' });
    await test.sql`insert into schedules (job_type, cohort, cron) values (${scheduled}, 'active', '0 * * * *')`;
    await test.sql`insert into tenants (id, plan) values ('other', 'growth')`;
    await one.claimAt(day('02:00:01'));
    await test.sql`update schedules set enabled = false where cohort = 'high_value'`;
    expect(await one.claimAt(day('05:00:01'))).toMatchObject({ claimed: 1, created: 1, putOff: 1 });
    // Put off: not met again in each round.
    expect(await one.claimAt(day('05:00:02'))).toMatchObject({ claimed: 0, putOff: 0 });
    await test.sql`update schedules set enabled = true where cohort = 'high_value'`;
    await resumedAt('05:30:00');
    await one.claimAt(day('05:30:01'));
    expect((await one.record())[1]).toMatchObject({
      missed: 3,
      reason: 'paused',
      outcome: 'missed',
    });
    await one.claimAt(day('06:00:01'));
    expect(await one.jobs()).toEqual([day('02:00:00'), day('06:00:00')]);
  });
});
