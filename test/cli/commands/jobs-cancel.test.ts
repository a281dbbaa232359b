/** `purser jobs cancel`, and cancel requests, pauses, progress and log lines in `jobs show`. */
import { userInfo } from 'node:os';
import { beforeAll, describe, expect, it } from 'vitest';
import { storeProgress } from '../../../src/jobs/leases.ts';
import type { BegunAttempt } from '../../../src/jobs/attempts.ts';
import { listEndRequests } from '../../../src/jobs/cancel.ts';
import { storeLogLines } from '../../../src/jobs/log-lines.ts';
import {
  addJob,
  addJobType,
  eventually,
  finish,
  jobRow,
  runningJob,
  step,
} from '../../jobs/job-steps.ts';
import { addTenant } from '../../support/tenants.ts';
import { useCliDatabase } from '../cli-database.ts';

const cli = useCliDatabase();
const { invoke } = cli;
beforeAll(() => addJobType(cli.sql));

const cancel = (jobId: string, ...more: string[]) =>
  invoke('jobs', 'cancel', jobId, '--reason', 'wrong file', ...more);

/** Runs `act` as the worker would, once it has found the cancel request of its attempt. */
async function whenAsked(attempt: BegunAttempt, act: () => Promise<unknown>): Promise<void> {
  await eventually('the cancel request', async () =>
    (await listEndRequests(cli.sql, [attempt.token])).get(attempt.token),
  );
  await act();
}

describe('jobs cancel', () => {
  it('cancels a waiting job and records the login, or the name given by --by', async () => {
    const jobId = await addJob(cli.sql, cli.tenantId);
    expect(await cancel(jobId)).toEqual({ code: 0, out: `job ${jobId} is cancelled`, err: '' });
    expect(await jobRow(cli.sql, jobId)).toMatchObject({
      state: 'cancelled',
      state_detail: { by: userInfo().username, reason: 'wrong file' },
    });
    const other = await addJob(cli.sql, cli.tenantId);
    await cancel(other, '--by', 'Alice M\u00fcller');
    expect(await jobRow(cli.sql, other)).toMatchObject({
      state_detail: { by: 'Alice M\u00fcller', reason: 'wrong file' },
    });
  });

  it('waits until the worker has stopped a running job', async () => {
    const attempt = await runningJob(cli.sql, cli.tenantId);
    const [{ code, out }] = await Promise.all([
      cancel(attempt.jobId),
      whenAsked(attempt, () => finish(cli.sql, attempt, { toState: 'cancelled' })),
    ]);
    expect([code, out]).toEqual([0, `job ${attempt.jobId} is cancelled`]);
  });

  it('cancels a running job that returned to waiting', async () => {
    const attempt = await runningJob(cli.sql, cli.tenantId);
    const [{ code }] = await Promise.all([
      cancel(attempt.jobId),
      whenAsked(attempt, () =>
        finish(cli.sql, attempt, { toState: 'pending', countsAttempt: false }),
      ),
    ]);
    expect(code).toBe(0);
    expect(await jobRow(cli.sql, attempt.jobId)).toMatchObject({ state: 'cancelled' });
  });

  it('exits 1 when the job completed first', async () => {
    const attempt = await runningJob(cli.sql, cli.tenantId);
    const [{ code, out }] = await Promise.all([
      cancel(attempt.jobId),
      whenAsked(attempt, () => finish(cli.sql, attempt)),
    ]);
    expect([code, out]).toEqual([
      1,
      `job ${attempt.jobId} was not cancelled: it ended as completed`,
    ]);
  });

  it('does not wait with --wait 0, and exits 1 when the job still runs after the wait', async () => {
    const attempt = await runningJob(cli.sql, cli.tenantId);
    const asked = await cancel(attempt.jobId, '--wait', '0');
    expect(asked).toMatchObject({
      code: 0,
      out: expect.stringContaining('the cancel request stays'),
    });
    const waited = await cancel(attempt.jobId, '--wait', '1');
    expect(waited).toMatchObject({ code: 1, out: expect.stringContaining('is still running') });
    const shown = await invoke('jobs', 'show', attempt.jobId);
    expect(shown.out).toMatch(/^cancelling +by .+: wrong file$/m);
  });

  it('prints JSON: the job, the outcome and the state', async () => {
    const waiting = await addJob(cli.sql, cli.tenantId);
    const running = await runningJob(cli.sql, cli.tenantId);
    const said = async (jobId: string, ...more: string[]): Promise<unknown> =>
      JSON.parse((await cancel(jobId, '--json', ...more)).out);
    expect(await said(waiting)).toEqual({
      jobId: waiting,
      outcome: 'cancelled',
      state: 'cancelled',
    });
    expect(await said(waiting)).toEqual({ jobId: waiting, outcome: 'ended', state: 'cancelled' });
    expect(await said(running.jobId, '--wait', '0')).toEqual({
      jobId: running.jobId,
      outcome: 'requested',
      state: 'running',
    });
  });

  it('succeeds for a job that was already cancelled', async () => {
    const jobId = await addJob(cli.sql, cli.tenantId);
    await cancel(jobId);
    expect(await cancel(jobId)).toEqual({
      code: 0,
      out: `job ${jobId} was already cancelled`,
      err: '',
    });
  });

  it('refuses an unknown job, and an empty or unprintable reason or name', async () => {
    expect(await cancel('999999999')).toMatchObject({ code: 1, err: 'there is no job 999999999' });
    const jobId = await addJob(cli.sql, cli.tenantId);
    const bad = [
      ['--reason', '  '],
      ['--reason', 'two\nlines'],
      ['--reason', 'x'.repeat(501)],
      ['--reason', '\u001b[2J'],
      ['--reason', 'fine', '--by', ''],
      ['--reason', 'fine', '--by', 'a\u202eb'],
      ['--reason', 'fine', '--wait', '-1'],
      ['--reason', 'fine', '--wait', 'soon'],
      [],
    ];
    for (const args of bad) {
      const { code, err } = await invoke('jobs', 'cancel', jobId, ...args);
      expect([args, code, err]).toEqual([args, 64, expect.stringMatching(/--(reason|by|wait)/)]);
    }
    expect(await jobRow(cli.sql, jobId)).toMatchObject({ state: 'pending' });
  });
});

describe('jobs show', () => {
  it('lists the pauses that apply to a waiting job, and no others', async () => {
    const jobId = await addJob(cli.sql, cli.tenantId);
    const other = await addTenant(cli.sql);
    await invoke('pause', '--type', step, '--reason', 'bad release', '--by', 'alice');
    await invoke('pause', '--tenant', cli.tenantId, '--reason', 'unpaid', '--by', 'bob');
    await invoke('pause', '--tenant', other, '--reason', 'elsewhere');
    const { out } = await invoke('jobs', 'show', jobId);
    expect(out.match(/^paused .*$/gm)).toEqual([
      `paused         job type ${step}, by alice: bad release`,
      `paused         tenant ${cli.tenantId}, by bob: unpaid`,
    ]);
    await cancel(jobId);
    expect((await invoke('jobs', 'show', jobId)).out).not.toMatch(/^paused/m);
    await invoke('resume', '--type', step);
  });

  it('prints progress and the newest log lines, with control characters escaped', async () => {
    const attempt = await runningJob(cli.sql, cli.tenantId);
    const { jobId, token } = attempt;
    await storeProgress(cli.sql, [{ token, done: 0.4, note: '4 of 10' }]);
    const at = '2026-03-04T05:06:07.089Z';
    const lines = Array.from({ length: 60 }, (_, n) => ({
      at,
      level: 'info',
      text: `row ${n + 1} \u001b[2J\nforged`,
    }));
    await storeLogLines(cli.sql, [{ jobId, tenantId: cli.tenantId, attempt: 1, lines }]);
    const rowsIn = (text: string) => text.match(/ info +row \d+/g)?.length ?? 0;

    const shown = await invoke('jobs', 'show', jobId);
    expect(shown.out).toMatch(/^progress +40 % 4 of 10$/m);
    expect(rowsIn(shown.out)).toBe(50);
    expect(shown.out).toContain('10 earlier lines are not shown: --logs all');
    expect(shown.out).toMatch(/2026-03-04T05:06:07Z +1 +info +row 60 /);
    expect(shown.out).not.toContain('\u001b');
    expect(shown.out).not.toMatch(/^forged/m);

    expect(rowsIn((await invoke('jobs', 'show', jobId, '--logs', 'all')).out)).toBe(60);
    expect(rowsIn((await invoke('jobs', 'show', jobId, '--logs', '3')).out)).toBe(3);
    const none = (await invoke('jobs', 'show', jobId, '--logs', '0')).out;
    expect([rowsIn(none), none.includes('earlier lines')]).toEqual([0, false]);
    expect(await invoke('jobs', 'show', jobId, '--logs', 'some')).toMatchObject({ code: 64 });
    const json = JSON.parse((await invoke('jobs', 'show', jobId, '--json')).out);
    expect(json).toMatchObject({ progress: { done: 0.4 }, cancelRequested: null, pausedBy: [] });
    expect(json.logs).toHaveLength(50);
    expect(json.logs.at(-1)).toEqual({
      lineNo: 60,
      attempt: 1,
      at,
      level: 'info',
      text: 'row 60 \u001b[2J\nforged',
    });
  });
});
