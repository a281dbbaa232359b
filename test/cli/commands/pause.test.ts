/** `purser pause|resume|pauses`, and the warning of `doctor`. */
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { addJob, addJobType, claim, step } from '../../jobs/job-steps.ts';
import { useCliDatabase } from '../cli-database.ts';

const cli = useCliDatabase();
const { invoke } = cli;
beforeAll(() => addJobType(cli.sql));
afterEach(async () => {
  await cli.sql`delete from pauses`;
});

const pause = (...args: string[]) => invoke('pause', ...args, '--reason', 'bad release');
const doctor = async (): Promise<{ level: string; seen: string; fix?: string }> => {
  const findings = JSON.parse((await invoke('doctor', '--json')).out);
  return findings.find(({ check }: { check: string }) => check === 'pauses');
};

describe('pause and resume', () => {
  it('stop and resume dispatch of a type, of a tenant and of everything', async () => {
    for (const [args, title, again] of [
      [['--type', step], `job type ${step}`, `--type=${step}`],
      [['--tenant', cli.tenantId], `tenant ${cli.tenantId}`, `--tenant=${cli.tenantId}`],
      [['--all'], 'everything', '--all'],
    ] as const) {
      const jobId = await addJob(cli.sql, cli.tenantId);
      expect(await pause(...args)).toEqual({
        code: 0,
        out: `${title} is paused; jobs already in a queue still run; to resume: purser resume ${again}`,
        err: '',
      });
      expect(await claim(cli.sql)).toEqual([]);
      const resumed = await invoke('resume', again);
      expect(resumed).toMatchObject({
        code: 0,
        out: expect.stringMatching(
          new RegExp(`^${title} is resumed; it was paused by .+ since 2\\S+: bad release$`),
        ),
      });
      expect((await claim(cli.sql)).map((job) => job.jobId)).toEqual([jobId]);
      expect(await invoke('resume', ...args)).toEqual({
        code: 0,
        out: `${title} was not paused`,
        err: '',
      });
    }
  });

  it('print the pause that was replaced, and that everything is still paused', async () => {
    await pause('--type', step, '--by', 'alice');
    const second = await invoke('pause', '--type', step, '--reason', 'worse', '--by', 'bob');
    expect(second.out).toMatch(/this replaces the pause by alice since \S+: bad release/);
    await pause('--all', '--by', 'carol');
    const resumed = await invoke('resume', '--type', step);
    expect(resumed.out).toMatch(/^job type .+ is resumed; it was paused by bob since \S+: worse$/m);
    expect(resumed.out).toMatch(/^everything is still paused, by carol since/m);
  });

  it('accept exactly one existing target', async () => {
    for (const command of ['pause', 'resume']) {
      const reason = command === 'pause' ? ['--reason', 'x'] : [];
      for (const args of [
        [],
        ['--all', '--type', step],
        ['--type', step, '--tenant', cli.tenantId],
      ]) {
        expect(await invoke(command, ...args, ...reason)).toEqual({
          code: 64,
          out: '',
          err: 'name one target: --type TYPE, --tenant T or --all',
        });
      }
      expect(await invoke(command, '--type', 'no_such', ...reason)).toMatchObject({
        code: 1,
        err: expect.stringMatching(/no job type "no_such"; registered job types: .*test_step/),
      });
      expect(await invoke(command, '--type', '', ...reason)).toMatchObject({ code: 64 });
      expect(await invoke(command, '--tenant', 'nobody', ...reason)).toMatchObject({
        code: 1,
        err: 'there is no tenant "nobody"',
      });
    }
    expect(await invoke('pause', '--all')).toMatchObject({
      code: 64,
      err: expect.stringContaining('--reason'),
    });
    expect((await invoke('pauses', '--json')).out).toBe('[]');
  });

  it('print JSON', async () => {
    const target = { scope: 'job_type', name: step };
    const paused = JSON.parse((await pause('--type', step, '--by', 'alice', '--json')).out);
    expect(paused).toEqual({ ...target, replaced: null, claimsDrained: true });
    const resumed = JSON.parse((await invoke('resume', '--type', step, '--json')).out);
    expect(resumed).toMatchObject({ ...target, ended: { by: 'alice' }, allPausedBy: null });
  });
});

describe('pauses', () => {
  it('lists pauses with time, operator and reason, oldest first', async () => {
    expect((await invoke('pauses')).out).toBe('nothing is paused');
    await pause('--tenant', cli.tenantId, '--by', 'alice');
    await pause('--all', '--by', 'bob');
    const { out } = await invoke('pauses');
    expect(out.split('\n').slice(2)).toEqual([
      expect.stringMatching(new RegExp(`^tenant ${cli.tenantId} +2\\S+Z +alice +bad release$`)),
      expect.stringMatching(/^everything +2\S+Z +bob +bad release$/),
    ]);
    const json = JSON.parse((await invoke('pauses', '--json')).out);
    expect(json).toMatchObject([
      { scope: 'tenant', name: cli.tenantId, by: 'alice', reason: 'bad release' },
      { scope: 'all', name: '', by: 'bob' },
    ]);
  });
});

describe('doctor', () => {
  it('warns of every pause with its reason and the command that removes it', async () => {
    expect(await doctor()).toMatchObject({ level: 'ok', seen: 'nothing is paused' });
    const odd = `-it's; $(odd)`;
    await cli.sql`insert into tenants (id) values (${odd})`;
    await invoke('pause', `--tenant=${odd}`, '--reason', 'unpaid', '--by', 'alice');
    await pause('--type', step);
    const found = await doctor();
    expect(found.level).toBe('warn');
    expect(found.seen).toMatch(/tenant -it's; \$\(odd\) since 2\S+Z by alice \(unpaid\); job type/);
    expect(found.fix).toContain(
      `purser resume --tenant='-it'\\''s; $(odd)'; purser resume --type=${step}`,
    );
  });

  it('names five pauses and counts the others', async () => {
    await cli.sql`insert into tenants (id) select 'many-' || n from generate_series(1, 9) n`;
    await cli.sql`
      insert into pauses (scope, name, reason, by)
      select 'tenant', 'many-' || n, 'unpaid', 'alice' from generate_series(1, 9) n`;
    const { seen } = await doctor();
    expect(seen.match(/tenant many-/g)).toHaveLength(5);
    expect(seen).toMatch(/; and 4 more: purser pauses$/);
  });
});
