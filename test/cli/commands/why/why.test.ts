/** `purser why`, its line in `jobs show`, and the warning of `purser enqueue`. */
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { addJob, addJobType, step } from '../../../jobs/job-steps.ts';
import { useCliDatabase } from '../../cli-database.ts';

const cli = useCliDatabase();
const { invoke, json } = cli;
beforeAll(() => addJobType(cli.sql));
beforeEach(async () => {
  await cli.sql`delete from pauses`;
  await cli.sql`delete from heartbeats`;
});

const alive = (role: 'scheduler' | 'worker', jobTypes: readonly string[] = []) => cli.sql`
  insert into heartbeats (process_id, role, version, hostname, pid, job_types, type_slots, slots)
  values (${`${role} of ${jobTypes.join()}`}, ${role}, '1', 'h', 1, ${[...jobTypes]}::text[],
    ${jobTypes.map(() => 5)}::int[], 5)`;
const pause = () =>
  invoke('pause', '--tenant', cli.tenantId, '--reason', 'unpaid', '--by', 'alice');

describe('why', () => {
  it('lists the causes of a job in their order, each with the command that lifts it', async () => {
    const jobId = await addJob(cli.sql, cli.tenantId);
    await pause();
    const { code, out } = await invoke('why', jobId);
    expect(code).toBe(0);
    expect(out.split('\n')).toEqual([
      `job ${jobId} is pending`,
      expect.stringMatching(
        new RegExp(`^1. paused: tenant ${cli.tenantId} is paused by alice since 2\\S+: unpaid$`),
      ),
      `   to lift it: purser resume --tenant=${cli.tenantId}`,
      expect.stringMatching(/^2. no_scheduler: /),
      '   to lift it: purser start scheduler',
      '3. no_worker: no worker lives',
      '   to lift it: purser start worker',
      expect.stringMatching(/^4. turn: it waits its turn: place 1 /),
    ]);
  });

  it('prints JSON, of a job, a type, a tenant and the fleet', async () => {
    const jobId = await addJob(cli.sql, cli.tenantId);
    await alive('scheduler');
    await alive('worker', ['another']);
    const first = { code: 'no_worker_for_type', facts: { running: ['another'] } };
    for (const [args, target] of [
      [[jobId], { jobId }],
      [['--type', step], { jobType: step }],
      [['--tenant', cli.tenantId], { tenantId: cli.tenantId }],
      [[], {}],
    ] as const) {
      expect(await json('why', ...args)).toMatchObject({
        target,
        causes: [first, { code: 'turn' }],
      });
    }
  });

  it('refuses what is no job, an unknown name, and a job beside a type', async () => {
    for (const [args, code, says] of [
      [['abc'], 64, 'a job id is a whole number'],
      [['7', '--type', step], 64, 'not both'],
      [['999999999'], 1, 'there is no job 999999999'],
      [['--type', 'nope'], 1, 'registered job types'],
      [['--tenant', 'nobody'], 1, 'there is no tenant "nobody"'],
    ] as const) {
      const answer = await invoke('why', ...args);
      expect([args, answer.code, answer.err]).toEqual([args, code, expect.stringContaining(says)]);
    }
  });
});

it('jobs show has the first cause of an open job, and how many more there are', async () => {
  const jobId = await addJob(cli.sql, cli.tenantId);
  await pause();
  const { out } = await invoke('jobs', 'show', jobId);
  expect(out).toMatch(
    new RegExp(
      `^why +paused: tenant \\S+ is paused by alice .* \\(and 3 more: purser why ${jobId}\\)$`,
      'm',
    ),
  );
  expect(await json('jobs', 'show', jobId)).toMatchObject({
    why: [{ code: 'paused' }, {}, {}, {}],
  });
  await invoke('jobs', 'cancel', jobId, '--reason', 'twice');
  expect((await invoke('jobs', 'show', jobId)).out).not.toMatch(/^why/m);
});

it('enqueue warns where no live worker runs the type, and is silent where one does', async () => {
  const args = ['enqueue', step, '--tenant', cli.tenantId];
  expect(await invoke(...args)).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^job \d+ accepted$/),
    err: expect.stringMatching(
      /^warning: no live worker runs jobs of test_step \(no worker lives\)/,
    ),
  });
  expect(await json(...args)).toMatchObject({ created: true, warning: expect.any(String) });
  await alive('worker', [step]);
  expect(await invoke(...args)).toMatchObject({ code: 0, err: '' });
  expect(await json(...args)).not.toHaveProperty('warning');
});
