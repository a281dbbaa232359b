/** `purser tenants remove`: what keeps a tenant, what it says to do, and that the act is on record. */
import { beforeAll, expect, it } from 'vitest';
import { recordUsage } from '../../../src/budget/settle.ts';
import { enqueue } from '../../../src/jobs/enqueue.ts';
import { useCliDatabase } from '../../cli/cli-database.ts';
import { addJob, addJobType, step } from '../../jobs/job-steps.ts';
import { reserve, settlementOf, untilWaiting } from '../../support/holds.ts';
import { startAttempt } from '../../support/tenants.ts';

const cli = useCliDatabase();
beforeAll(() => addJobType(cli.sql, step));

const remove = (...args: string[]) =>
  cli.invoke('tenants', 'remove', cli.tenantId, '--reason', 'left us', '--by', 'alice', ...args);
const isThere = async () =>
  (await cli.sql`select from tenants where id = ${cli.tenantId}`).length > 0;
const acts = () => cli.sql`
  select act, operator, reason, before, target from operator_acts where tenant_id = ${cli.tenantId}`;

it('removes a tenant without rows, with its schedules, and records who did so and why', async () => {
  expect(await remove()).toEqual({ code: 0, err: '', out: `tenant ${cli.tenantId} is removed` });
  expect(await isThere()).toBe(false);
  expect(await acts()).toEqual([
    {
      act: 'tenant_remove',
      operator: 'alice',
      reason: 'left us',
      before: {},
      target: { withData: false },
    },
  ]);
  const again = await remove();
  expect([again.code, again.err]).toEqual([1, expect.stringContaining('there is no tenant')]);
});

it('keeps a tenant with open jobs, with or without its data, and says how to end them', async () => {
  const jobId = await addJob(cli.sql, cli.tenantId);
  for (const args of [[], ['--with-data']]) {
    const { code, err } = await remove(...args);
    expect(code).toBe(1);
    expect(err).toContain('it has 1 open job');
    expect(err).toContain('purser jobs cancel --tenant ID');
    expect(err).toContain('purser pause --tenant ID');
  }
  expect([await isThere(), await acts()]).toEqual([true, []]);
  await cli.invoke('jobs', 'cancel', jobId, '--reason', 'left us');
  const ended = await remove();
  expect(ended.err).toMatch(/it has 1 ended job\n {2}the rest goes .* --with-data/);
  expect(await isThere()).toBe(true);
  expect((await remove('--with-data')).out).toBe(
    `tenant ${cli.tenantId} is removed, with 1 ended job`,
  );
  expect(await isThere()).toBe(false);
  expect(await cli.sql`select from jobs where tenant_id = ${cli.tenantId}`).toEqual([]);
});

it('keeps a tenant with LLM calls on its books, whatever it is told', async () => {
  const attempt = await startAttempt(cli.sql, cli.tenantId);
  const { reservationId } = await reserve(cli.sql, attempt, '0.5');
  await recordUsage(cli.sql, settlementOf(reservationId, '0.25'));
  // Nobody is told to cancel it for nothing.
  await addJob(cli.sql, cli.tenantId);
  for (const args of [[], ['--with-data']]) {
    const { code, err } = await remove(...args);
    expect(code).toBe(1);
    expect(err).toContain('it has LLM calls on its books, which are kept');
  }
  expect([await isThere(), await acts()]).toEqual([true, []]);
});

it('keeps stored credentials until they are removed by their own command', async () => {
  await cli.sql`
    insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
    values (${cli.tenantId}, '000000000001', 'sealed', 1)`;
  const { err } = await remove('--with-data');
  expect(err).toContain('cloud accounts: remove them: purser accounts remove');
  await cli.invoke('accounts', 'remove', '--tenant', cli.tenantId, '--account-id', '000000000001');
  expect((await remove()).code).toBe(0);
});

it('waits for the transaction of a new job, and then finds the job', async () => {
  const { sql, tenantId } = cli;
  let removal: ReturnType<typeof remove> | undefined;
  await sql.begin(async (tx) => {
    await enqueue(tx, { tenantId, jobType: step });
    removal = remove('--with-data');
    await untilWaiting(sql, 1);
  });
  expect((await removal)?.err).toContain('it has 1 open job');
  expect(await sql`select from jobs where tenant_id = ${tenantId}`).toHaveLength(1);
});
