/** Weight and limits of the backlog of a tenant, and what an enqueue says that they refuse. */
import { expect, it } from 'vitest';
import { useCliDatabase } from '../cli-database.ts';

const cli = useCliDatabase();
const { invoke, json } = cli;
const set = (...args: string[]) => invoke('tenants', 'set-limits', cli.tenantId, ...args);
const add = () => invoke('enqueue', 'finops_analysis', '--tenant', cli.tenantId);

async function listed(): Promise<unknown> {
  const rows = (await json('tenants', 'list')) as { id: string }[];
  return rows.find(({ id }) => id === cli.tenantId);
}

it('sets what is given, keeps the rest, and lists it', async () => {
  expect(await set('--weight', '3', '--max-backlog-jobs', '10')).toEqual({
    code: 0,
    err: '',
    out:
      `tenant ${cli.tenantId} now has weight 3, at most 10 jobs and no limit of bytes of backlog; of LLM calls ` +
      'at most 1000000 in a minute and at most 1000000 in flight',
  });
  await set('--max-backlog-bytes', '5000000000');
  expect(await listed()).toMatchObject({
    weight: 3,
    max_backlog_jobs: '10',
    max_backlog_bytes: '5000000000',
  });
  const { out } = await invoke('tenants', 'list');
  expect(out).toMatch(new RegExp(`${cli.tenantId} .* 3 +10 +5000000000`));
});

it('limits the LLM calls of a tenant, and takes it back', async () => {
  const calls = 'of LLM calls at most';
  expect((await set('--calls-per-minute', '7', '--calls-in-flight', '2')).out).toContain(
    `${calls} 7 in a minute and at most 2 in flight`,
  );
  expect((await set('--calls-per-minute', 'none', '--calls-in-flight', 'none')).out).toContain(
    `${calls} 60 in a minute and at most 5 in flight`,
  );
  expect((await set('--calls-in-flight', '-1')).err).toContain('--calls-in-flight');
});

it("takes them back: the plan's hold again", async () => {
  await cli.sql`insert into plans (plan, monthly_limit_usd, weight, max_backlog_jobs) values ('capped', 1, 7, 99)`;
  await invoke('tenants', 'set-plan', cli.tenantId, 'capped');
  await set('--weight', '3', '--max-backlog-jobs', '10', '--max-backlog-bytes', '20');
  const { out } = await set(
    '--plan-weight',
    '--max-backlog-jobs',
    'none',
    '--max-backlog-bytes',
    'none',
  );
  expect(out).toContain('weight 7, at most 99 jobs and no limit of bytes');
});

it.each([
  [[], /nothing to set/],
  [['--weight', '0'], /--weight must be a whole number from 1 to 100 not "0"/],
  [['--weight', 'none'], /--weight must be/],
  [['--weight', '2', '--plan-weight'], /exclude each other/],
  [['--max-backlog-jobs', '-1'], /max-backlog-jobs/],
  [['--max-backlog-jobs', '1.5'], /from 0 to 2147483647, or none, not "1.5"/],
  [['--max-backlog-jobs', '2147483648'], /from 0 to 2147483647/],
  [['--max-backlog-bytes', 'many'], /--max-backlog-bytes must be a whole number/],
])('refuses %j and changes nothing', async (args, says) => {
  await set('--weight', '5', '--max-backlog-jobs', '6', '--max-backlog-bytes', '7');
  const before = await listed();
  const refused = (async () => {
    const outcome = await set(...args);
    if (outcome.code !== 64) throw new Error(`exit code ${outcome.code}`);
    return outcome.err;
  })();
  await expect(refused).resolves.toMatch(says);
  expect(await listed()).toEqual(before);
});

it('says of an unknown tenant that it is unknown', async () => {
  const { code, err } = await invoke('tenants', 'set-limits', 'nobody', '--weight', '2');
  expect({ code, err }).toEqual({ code: 1, err: expect.stringContaining('no tenant "nobody"') });
});

it('an enqueue that is refused says how full the backlog is, when to try again and what raises the limit', async () => {
  await set('--max-backlog-jobs', '1');
  expect(await add()).toMatchObject({ code: 0 });
  expect(await add()).toEqual({
    code: 1,
    out: '',
    err:
      `tenant "${cli.tenantId}" has 1 jobs that have not begun; 1 more would exceed its limit of 1 ` +
      '(Try again in 5 s, when some have begun, or let an operator raise the limit: ' +
      'purser tenants set-limits ID --max-backlog-jobs N.)',
  });
  await set('--max-backlog-jobs', '2');
  expect(await add()).toMatchObject({ code: 0 });
});
