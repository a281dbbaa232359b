/** `purser limits set|clear|list`. */
import { afterEach, beforeAll, expect, it } from 'vitest';
import { addJobType, claim, flood, step } from '../../jobs/job-steps.ts';
import { useCliDatabase } from '../cli-database.ts';

const cli = useCliDatabase();
const { invoke } = cli;
beforeAll(() => addJobType(cli.sql));
afterEach(async () => {
  await cli.sql`delete from job_limits`;
  await cli.sql`delete from background_jobs`;
});

it('set limits what dispatch puts into the queues, and clear lifts it', async () => {
  const tenant = ['--tenant', cli.tenantId];
  await flood(cli.sql, cli.tenantId, 20);
  expect(await invoke('limits', 'set', ...tenant, '--type', step, '--running', '2')).toEqual({
    code: 0,
    out: `at most 2 jobs of type ${step} of tenant ${cli.tenantId} at once, queued or running; those that are queued or run already count, and go on`,
    err: '',
  });
  expect(await claim(cli.sql, 10)).toHaveLength(2);
  await invoke('limits', 'set', ...tenant, '--type', step, '--running', '3', '--by', 'alice');
  expect(await claim(cli.sql, 10)).toHaveLength(1);
  const listed = JSON.parse((await invoke('limits', 'list', '--json')).out);
  expect(listed).toEqual([
    {
      tenantId: cli.tenantId,
      jobType: step,
      group: null,
      eachTenant: false,
      maxRunning: 3,
      maxStarts: null,
      perSeconds: null,
      inFlight: 3,
      started: null,
      ofPlan: false,
      by: 'alice',
      at: expect.stringMatching(/^2.*Z$/),
    },
  ]);
  const cleared = await invoke('limits', 'clear', ...tenant, '--type', step);
  expect(cleared.out).toBe(
    `jobs of type ${step} of tenant ${cli.tenantId} have no limit of their own any more`,
  );
  expect(await claim(cli.sql, 10)).toHaveLength(10);
  const again = await invoke('limits', 'clear', ...tenant, '--type', step);
  expect(again).toMatchObject({ code: 0, out: expect.stringContaining('had no limit') });
});

it('set limits the starts in a window, and a limit of running jobs stays beside it', async () => {
  const tenant = ['--tenant', cli.tenantId];
  await flood(cli.sql, cli.tenantId, 20);
  await invoke('limits', 'set', ...tenant, '--running', '5');
  expect(await invoke('limits', 'set', ...tenant, '--starts', '3', '--per', '1m')).toEqual({
    code: 0,
    out: `at most 3 jobs of tenant ${cli.tenantId} in any 1m, by their starts; those that are queued already start beside them`,
    err: '',
  });
  expect(await claim(cli.sql, 10)).toHaveLength(3);
  expect((await invoke('limits', 'list')).out).toMatch(/ 5 +3 +3 in 1m +3 /);
});

it('set limits a group, of all tenants, of each or of one, and clear names it alike', async () => {
  const group = ['--group', 'user:*'];
  const set = (...options: string[]) =>
    invoke('limits', 'set', ...group, '--running', '2', ...options);
  expect((await set()).out).toContain('at most 2 jobs of each group user:* at once');
  expect((await set('--each-tenant')).out).toContain('jobs of each group user:* of each tenant at');
  expect((await set('--tenant', cli.tenantId)).out).toContain(
    `user:* of tenant ${cli.tenantId} at`,
  );
  const { out } = await invoke('limits', 'list');
  expect(out).toMatch(/\(all\) +\(all\) +user:\* +2 /);
  expect(out).toMatch(/\(each\) +\(all\) +user:\* +2 /);
  const cleared = await invoke('limits', 'clear', ...group, '--each-tenant');
  expect(cleared.out).toBe(
    'jobs of each group user:* of each tenant have no limit of their own any more',
  );
  expect(await cli.sql`select from job_limits`).toHaveLength(2);
});

it('list shows what each limit covers', async () => {
  expect((await invoke('limits', 'list')).out).toBe('nothing is limited');
  await invoke('limits', 'set', '--type', step, '--running', '8', '--by', 'bob');
  await invoke('limits', 'set', '--tenant', cli.tenantId, '--running', '0', '--by', 'bob');
  const { out } = await invoke('limits', 'list');
  expect(out).toMatch(new RegExp(`\\(all\\) +${step} +8 +0 +2\\S+ +bob`));
  expect(out).toMatch(new RegExp(`${cli.tenantId} +\\(all\\) +0 +0 +2\\S+ +bob`));
});

it.each([
  [
    ['--running', '3'],
    64,
    'name what is limited: --tenant T, --type TYPE, both, --group NAME, or --plan PLAN',
  ],
  [
    ['--plan', 'free', '--tenant', 'a', '--starts', '1', '--per', '1d'],
    64,
    '--plan limits each tenant of the plan: leave out --tenant',
  ],
  [
    ['--plan', 'free', '--running', '3'],
    64,
    'a plan limits starts: give --starts N --per TIME, and no --running',
  ],
  [['--plan', 'gold', '--starts', '1', '--per', '1d'], 1, 'there is no plan "gold"'],
  [['--tenant', '', '--running', '3'], 64, '--tenant must name a tenant'],
  [['--type', step], 64, 'say what is allowed: --running N, --starts N --per TIME, or both'],
  [['--type', step, '--running=-1'], 64, '--running must be a whole number from 0 to 1000000'],
  [['--type', step, '--running', '1.5'], 64, '--running must be a whole number from 0 to 1000000'],
  [['--type', step, '--running', '9999999'], 64, 'from 0 to 1000000'],
  [['--type', step, '--starts', '3'], 64, '--starts N and --per TIME go together'],
  [['--type', step, '--per', '1m'], 64, '--starts N and --per TIME go together'],
  [['--type', step, '--starts', '3', '--per', '0'], 64, '--per must be a time from 1s to 31d'],
  [['--type', step, '--starts', '3', '--per', '32d'], 64, '--per must be a time from 1s to 31d'],
  [['--type', step, '--starts', '3', '--per', '1 min'], 64, '--per must be a time from 1s to 31d'],
  [['--type', step, '--starts', '100001', '--per', '1m'], 64, 'from 0 to 100000'],
  [['--group', 'eu', '--type', step, '--running', '3'], 64, 'limited over all job types'],
  [['--each-tenant', '--type', step, '--running', '3'], 64, '--each-tenant goes with --group'],
  [['--group', '', '--running', '3'], 1, 'the group "" is empty'],
  [['--group', 'user*', '--running', '3'], 1, 'e.g. user:*'],
  [['--group', 'user:eu:*', '--running', '3'], 1, 'e.g. user:*'],
  [['--type', 'no_type', '--running', '3'], 1, 'registered job types:'],
  [['--tenant', 'nobody', '--running', '3'], 1, 'no tenant "nobody"'],
])('refuses %j', async (args, code, err) => {
  const answer = await invoke('limits', 'set', ...args);
  expect(answer).toMatchObject({ code, out: '', err: expect.stringContaining(err) });
  expect(await cli.sql`select from job_limits`).toHaveLength(0);
});

it('set, list and clear what a plan limits for each of its tenants', async () => {
  const ofPlan = ['--plan', 'free', '--type', step];
  await cli.sql`insert into tenants (id, plan) values ('of-plan', 'free')`;
  const set = await invoke(
    'limits',
    'set',
    ...ofPlan,
    '--starts',
    '500',
    '--per',
    '1d',
    '--by',
    'alice',
  );
  expect(set).toEqual({
    code: 0,
    out: `at most 500 jobs of type ${step} of each tenant of plan free in any 1d, by their starts; a tenant's own limit of starts stays`,
    err: '',
  });
  expect((await invoke('limits', 'list')).out).toMatch(
    new RegExp(`\\(each of plan free: \\d+\\) +${step} +500 in 1d +2\\S+ +alice`),
  );
  expect((await invoke('limits', 'list', '--tenant', 'of-plan')).out).toMatch(
    new RegExp(`of-plan +${step} +0 +500 in 1d +0 +2\\S+ +alice \\(plan\\)`),
  );
  const own = await invoke('limits', 'clear', '--tenant', 'of-plan', '--type', step);
  expect(own.out).toBe(`jobs of type ${step} of tenant of-plan had no limit of their own`);
  expect((await invoke('limits', 'clear', ...ofPlan)).out).toBe(
    `jobs of type ${step} of each tenant of plan free have no limit of their plan any more`,
  );
  expect((await invoke('limits', 'list', '--tenant', 'of-plan')).out).toBe('nothing is limited');
});
