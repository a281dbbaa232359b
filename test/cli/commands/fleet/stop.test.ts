/** `purser stop` hands jobs back and says what it did; its discard counts first. */
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { BegunAttempt } from '../../../../src/jobs/attempts.ts';
import { listEndRequests } from '../../../../src/jobs/cancel.ts';
import { listActs } from '../../../../src/operations/audit.ts';
import {
  addJob,
  addJobType,
  begin,
  claim,
  claimJob,
  eventually,
  finish,
  jobRow,
  runningJob,
} from '../../../jobs/job-steps.ts';
import { useCliDatabase } from '../../cli-database.ts';

const cli = useCliDatabase();
const { invoke } = cli;
beforeAll(() => addJobType(cli.sql));
afterEach(async () => {
  await cli.sql`delete from pauses`;
  await cli.sql`delete from tenants`;
});

const stop = (...args: string[]) => invoke('stop', ...args, '--reason', 'bad release');
const ofTenant = () => `--tenant=${cli.tenantId}`;
const acts = async () => (await listActs(cli.sql, { limit: 10 })).map(({ act }) => act);

/** As its worker does, once it has found the stop. */
async function handBack(attempt: BegunAttempt): Promise<void> {
  await eventually('the stop', async () =>
    (await listEndRequests(cli.sql, [attempt.token])).get(attempt.token),
  );
  await finish(cli.sql, attempt, { toState: 'pending', countsAttempt: false, afterMs: 0 });
}

describe('stop', () => {
  it('waits until running jobs are handed back, and says how it is undone; resume lets all run again', async () => {
    const attempt = await runningJob(cli.sql, cli.tenantId);
    const queued = await claimJob(cli.sql, await addJob(cli.sql, cli.tenantId));
    const [{ code, out }] = await Promise.all([stop(ofTenant()), handBack(attempt)]);
    expect([code, out]).toEqual([
      0,
      `tenant ${cli.tenantId} is stopped; queued jobs that went back to waiting: 1, running jobs to be handed ` +
        `back: 1; to undo: purser resume ${ofTenant()}\nno job of it runs any more`,
    ]);
    expect(await claim(cli.sql)).toEqual([]);
    expect((await invoke('pauses')).out).toMatch(/tenant .*, stopped .* bad release/);
    expect((await invoke('resume', ofTenant())).code).toBe(0);
    expect((await claim(cli.sql)).map(({ jobId }) => jobId).toSorted()).toEqual(
      [attempt.jobId, queued.jobId].toSorted(),
    );
  });

  it('exits 1 and names the jobs that still run after the wait, and 0 where it does not wait', async () => {
    const { jobId } = await runningJob(cli.sql, cli.tenantId);
    expect(await stop(ofTenant(), '--wait', '0')).toMatchObject({ code: 0 });
    expect(await stop(ofTenant(), '--wait', '1')).toMatchObject({
      code: 1,
      out: expect.stringMatching(
        new RegExp(`this replaces the stop by .*\n1 job still runs: ${jobId}; the stop stays`),
      ),
    });
    expect(await cli.json('stop', ofTenant(), '--reason', 'x', '--wait', '0')).toMatchObject({
      scope: 'tenant',
      name: cli.tenantId,
      returned: 0,
      handedBack: 0,
      stillRunning: [jobId],
      discarded: 0,
      claimsDrained: true,
    });
  });

  it('takes one existing target, and a reason', async () => {
    for (const args of [[], ['--all', ofTenant()], ['--all', '--yes']]) {
      expect(await stop(...args)).toMatchObject({ code: 64 });
    }
    expect(await invoke('stop', '--all')).toMatchObject({ code: 64 });
    for (const more of [[], ['--discard']]) {
      expect(await stop('--type', 'no_such', ...more)).toMatchObject({
        code: 1,
        err: expect.stringContaining('no job type "no_such"'),
      });
    }
    expect((await invoke('pauses', '--json')).out).toBe('[]');
  });
});

describe('stop --discard', () => {
  it('counts what would end and changes nothing, until --yes is given', async () => {
    const before = await acts();
    const waiting = await addJob(cli.sql, cli.tenantId);
    const later = await addJob(cli.sql, cli.tenantId, { runAt: new Date(Date.now() + 3_600_000) });
    const attempt = await begin(cli.sql, await claimJob(cli.sql, waiting));
    const queued = await claimJob(cli.sql, await addJob(cli.sql, cli.tenantId));
    const preview = await stop('--all', '--discard');
    expect(preview).toEqual({
      code: 0,
      err: '',
      out:
        '2 jobs of 1 tenant would end as cancelled: 0 waiting, 1 scheduled for later, 0 parked, 1 queued\n' +
        '1 running would go back to waiting and not end\nnothing was changed; add --yes to stop and discard',
    });
    expect(await cli.json('stop', '--all', '--discard', '--reason', 'x')).toEqual({
      scope: 'all',
      name: '',
      preview: true,
      wouldEnd: 2,
      waiting: 0,
      later: 1,
      parked: 0,
      queued: 1,
      running: 1,
      tenants: 1,
    });
    expect(await acts()).toEqual(before);
    expect((await invoke('pauses', '--json')).out).toBe('[]');

    const [done] = await Promise.all([stop('--all', '--discard', '--yes'), handBack(attempt)]);
    expect(done).toMatchObject({
      code: 0,
      out: expect.stringContaining('2 jobs ended as cancelled'),
    });
    const states = [waiting, later, queued.jobId].map(
      async (id) => (await jobRow(cli.sql, id)).state,
    );
    expect(await Promise.all(states)).toEqual(['pending', 'cancelled', 'cancelled']);
    expect((await acts()).slice(0, 2)).toEqual(['stop_discard', 'stop']);
  });
});
