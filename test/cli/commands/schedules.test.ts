/** `purser schedules`, and what `tenants add` says of schedules. */
import { beforeEach, describe, expect, it } from 'vitest';
import { claimDueTenants } from '../../../src/schedules/claim.ts';
import { addJobType } from '../../jobs/job-steps.ts';
import { useCliDatabase } from '../cli-database.ts';

const cli = useCliDatabase();
const { invoke } = cli;
const type = 'nightly_report';

beforeEach(async () => {
  await cli.sql`delete from tenants where id <> ${cli.tenantId}`;
  await cli.sql`delete from schedules where job_type <> 'finops_analysis'`;
  await cli.sql`delete from tenant_schedules where job_type <> 'finops_analysis'`;
  await cli.sql`update tenants set plan = 'pro'`;
  await addJobType(cli.sql, type);
});

const set = (...args: string[]) => invoke('schedules', 'set', type, ...args);
const highValue = ['--cohort', 'high_value'];
const addSchedule = (...args: string[]) => set(...highValue, '--cron', '0 3 * * *', ...args);
const ofTenant = () => ['--tenant', cli.tenantId];
const rowsOf = async (...args: string[]) =>
  (await cli.json('schedules', 'list', ...args)) as { jobType: string; cohort: string }[];
const mine = async (...args: string[]) =>
  (await rowsOf(...args)).find(({ jobType }) => jobType === type);

describe('schedules set', () => {
  it('adds a schedule, which reaches its tenants, and changes what is given only', async () => {
    const added = await addSchedule('--zone', 'Europe/Berlin', '--splay', '600');
    expect(added).toMatchObject({
      code: 0,
      out: `the schedule of ${type} for high_value added: 0 3 * * * in Europe/Berlin, splay 600 s, missed ticks: once`,
    });
    expect(await mine()).toMatchObject({ cohort: 'high_value', tenants: 1, overridden: 0 });
    const changed = await set(...highValue, '--missed', 'all', '--most', '7');
    expect(changed.out).toContain(
      'changed: 0 3 * * * in Europe/Berlin, splay 600 s, missed ticks: all, 7 at most',
    );
  });

  it('sets what differs for one tenant, and --clear removes it', async () => {
    await addSchedule();
    expect(await set(...ofTenant(), '--cron', '0 5 * * *')).toMatchObject({ code: 0 });
    await set(...ofTenant(), '--zone', 'Asia/Tokyo');
    const own = { cron: '0 5 * * *', zone: 'Asia/Tokyo', isOverridden: true, missed: 'once' };
    expect(await mine(...ofTenant())).toMatchObject(own);
    expect(await mine()).toMatchObject({ cron: '0 3 * * *', overridden: 1 });
    await set(...highValue, '--missed', 'skip');
    expect(await mine(...ofTenant())).toMatchObject({ ...own, missed: 'skip' });
    const cleared = await set(...ofTenant(), '--clear');
    expect(cleared.out).toContain('follows its cohort again: 0 3 * * * in UTC');
    expect(await mine(...ofTenant())).toMatchObject({ cron: '0 3 * * *', isOverridden: false });
  });

  it.each([
    [[], /nothing to set/],
    [['--cron', '0 3 * * *'], /name whom it is for: --cohort C or --tenant T/],
    [
      ['--cohort', 'rich', '--cron', '0 3 * * *'],
      /no cohort "rich"; use high_value, active, dormant/,
    ],
    [['--cohort', 'active', '--zone', 'UTC'], /is new and needs --cron/],
    [[...highValue, '--cron', '61 * * * *'], /cannot use the cron expression "61 \* \* \* \*"/],
    [[...highValue, '--cron', '0 0 30 2 *'], /it never comes due/],
    [[...highValue, '--cron', '0 3 * * *', '--zone', 'Mars/Base'], /zone "Mars\/Base"/],
    [
      [...highValue, '--cron', '*/5 * * * *', '--splay', '300'],
      /a splay of 300 s is not smaller than the interval .* 300 s at its shortest; use 299 s at most/,
    ],
    [
      [...highValue, '--cron', '0 3 * * *', '--missed', 'some'],
      /--missed must be one of skip, once, all/,
    ],
    [
      [...highValue, '--cron', '0 3 * * *', '--most', '1001'],
      /--most must be a whole number from 1 to 1000/,
    ],
    [[...highValue, '--clear'], /name it with --tenant T/],
    [
      ['--tenant', 't', ...highValue, '--cron', '0 3 * * *'],
      /name one of --cohort C and --tenant T/,
    ],
    [['--tenant', 't', '--clear', '--cron', '0 3 * * *'], /--clear goes with no other change/],
  ])('%j is a usage error', async (args, fault) => {
    expect(await set(...args)).toEqual({ code: 64, out: '', err: expect.stringMatching(fault) });
    expect(await mine()).toBeUndefined();
  });

  it('names a job type and a tenant that are not there', async () => {
    const unknown = await invoke(
      'schedules',
      'set',
      'no_such',
      ...highValue,
      '--cron',
      '0 3 * * *',
    );
    expect(unknown).toMatchObject({ code: 1, err: expect.stringMatching(/no job type "no_such"/) });
    expect(await set('--tenant', 'nobody', '--cron', '0 3 * * *')).toMatchObject({
      code: 1,
      err: 'there is no tenant "nobody"',
    });
  });

  it('checks the splay of the cohort against the expression of a tenant', async () => {
    await addSchedule('--splay', '3600');
    const refused = await set(...ofTenant(), '--cron', '*/10 * * * *');
    expect(refused).toMatchObject({ code: 64, err: expect.stringMatching(/use 599 s at most/) });
    expect((await set(...ofTenant(), '--cron', '*/10 * * * *', '--splay', '60')).code).toBe(0);
  });
});

describe('schedules pause and resume', () => {
  it('stop and start the schedule of a tenant, with who and why', async () => {
    await addSchedule();
    const paused = await invoke(
      'schedules',
      'pause',
      type,
      ...ofTenant(),
      '--reason',
      'moves',
      '--by',
      'ann',
    );
    expect(paused.out).toBe(
      `the schedule of ${type} for tenant ${cli.tenantId} is paused; jobs that it made still run; ` +
        `to resume: purser schedules resume ${type} --tenant=${cli.tenantId}`,
    );
    expect(await mine()).toMatchObject({ paused: 1, enabled: true });
    const { out } = await invoke('schedules', 'list', ...ofTenant());
    expect(out).toMatch(/nightly_report .*paused by ann: moves/);
    const { created } = await claimDueTenants(cli.sql, { excludedJobTypes: ['finops_analysis'] });
    expect(created).toBe(0);
    expect((await invoke('schedules', 'resume', type, ...ofTenant())).out).toContain(
      'is resumed with its next tick',
    );
    expect((await invoke('schedules', 'resume', type, ...ofTenant())).out).toContain(
      'was not paused',
    );
  });

  it('stop and start the schedules of a type, or of one cohort; a tenant hears of it', async () => {
    await addSchedule();
    await set('--cohort', 'active', '--cron', '0 4 * * *');
    const reason = ['--reason', 'bad release', '--by', 'bob'];
    await invoke('schedules', 'pause', type, '--cohort', 'active', ...reason);
    expect((await rowsOf()).filter(({ jobType }) => jobType === type)).toMatchObject([
      { cohort: 'high_value', enabled: true },
      { cohort: 'active', enabled: false, pausedBy: 'bob', pausedReason: 'bad release' },
    ]);
    await invoke('schedules', 'pause', type, ...reason);
    const resumed = await invoke('schedules', 'resume', type, ...ofTenant());
    expect(resumed.out).toMatch(
      /was not paused\nthe schedule of its cohort is still paused; to resume: purser schedules resume nightly_report/,
    );
    expect((await invoke('schedules', 'next', type, ...ofTenant())).out).toContain(
      "paused, by the cohort's pause",
    );
    await invoke('schedules', 'resume', type);
    expect(await mine()).toMatchObject({ enabled: true, pausedBy: null, pausedReason: null });
  });

  it('name a schedule that is not there, and how to add it', async () => {
    for (const [command, ...more] of [['pause', '--reason', 'x'], ['resume'], ['next']]) {
      expect(
        await invoke('schedules', command ?? '', type, '--cohort', 'dormant', ...more),
      ).toMatchObject({
        code: 1,
        err: `there is no schedule of ${type} for dormant; add one with: purser schedules set ${type} --cohort dormant --cron "0 */3 * * *"`,
      });
      expect(await invoke('schedules', command ?? '', 'no_such', ...more)).toMatchObject({
        code: 1,
        err: expect.stringMatching(/no job type "no_such"/),
      });
      expect(
        await invoke('schedules', command ?? '', type, '--tenant', 'nobody', ...more),
      ).toMatchObject({
        code: 1,
        err: 'there is no tenant "nobody"',
      });
    }
  });
});

it('schedules run makes a job now and leaves the ticks as they are', async () => {
  await addSchedule();
  const before = await mine(...ofTenant());
  const { out } = await invoke('schedules', 'run', type, ...ofTenant());
  expect(out).toMatch(/^job \d+ accepted; the ticks of the schedule stay as they are$/);
  expect(
    await cli.sql`select job_type, payload, dedup_key from jobs where job_type = ${type} and tenant_id = ${cli.tenantId}`,
  ).toEqual([{ job_type: type, payload: {}, dedup_key: null }]);
  expect(await mine(...ofTenant())).toEqual(before);
});

describe('schedules next', () => {
  it('shows the coming runs of a cohort in UTC and in the zone', async () => {
    await addSchedule('--zone', 'Asia/Kolkata');
    const runs = (await cli.json('schedules', 'next', type, '--count', '3')) as {
      at: string;
      local: string;
    }[];
    expect(runs).toHaveLength(3);
    for (const { at, local } of runs) {
      expect(at).toMatch(/T21:30:00.000Z$/);
      expect(local).toMatch(/ 03:00:00 \+05:30$/);
    }
  });

  it('marks the run before which the clocks change', async () => {
    await addSchedule('--zone', 'America/New_York');
    const { out } = await invoke('schedules', 'next', type, '--count', '100');
    const other = await invoke('schedules', 'set', type, ...highValue, '--cron', '0 3 1 * *');
    expect(other.code).toBe(0);
    const months = await invoke('schedules', 'next', type, '--count', '24');
    expect(months.out).toMatch(/-04:00 +the clocks go forward by 1 h before it/);
    expect(months.out).toMatch(/-05:00 +the clocks go back by 1 h before it/);
    expect(out.split('\n')).toHaveLength(102);
  });

  it("shows a tenant's own splay, and that a first run is due at once", async () => {
    await addSchedule('--splay', '3600');
    const runs = async () =>
      (await cli.json('schedules', 'next', type, ...ofTenant())) as { at: string; note: string }[];
    expect((await runs())[0]?.note).toBe('it has never run: due at once, without a splay');
    await claimDueTenants(cli.sql);
    const [first] = await runs();
    const [row] = await cli.sql`
      select next_due from tenant_schedules where tenant_id = ${cli.tenantId} and job_type = ${type}`;
    expect(first).toMatchObject({ at: row?.['next_due'].toISOString(), note: '' });
  });
});

it('tenants add says which schedules the tenant has now', async () => {
  await addSchedule();
  const { out } = await invoke('tenants', 'add', 'new-one', '--plan', 'pro');
  expect(out).toMatch(/^tenant new-one added with plan pro, and these schedules:\n/);
  expect(out).toMatch(
    /finops_analysis +high_value +0 \* \* \* \* +UTC +60 +once +no +at once \(it has never run\)/,
  );
  expect(out).toMatch(/nightly_report +high_value +0 3 \* \* \*/);
});
