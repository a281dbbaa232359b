/** `purser workers` lists workers and what they run; `purser drain` waits until a worker is empty. */
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { writeHeartbeat } from '../../../../src/db/heartbeats.ts';
import { readFlow } from '../../../../src/jobs/flow.ts';
import { storeProgress } from '../../../../src/jobs/leases.ts';
import { listActs } from '../../../../src/operations/audit.ts';
import {
  addJob,
  addJobType,
  eventually,
  finish,
  runningJob,
  step,
} from '../../../jobs/job-steps.ts';
import { useCliDatabase } from '../../cli-database.ts';

const cli = useCliDatabase();
const { invoke } = cli;
beforeAll(() => addJobType(cli.sql));
afterEach(async () => {
  await cli.sql`delete from tenants`;
  await cli.sql`delete from heartbeats`;
});

/** As worker-1 beats; `drainRequested` is what it then reads. */
const beat = (state?: 'draining' | 'empty', processId = 'worker-1') =>
  writeHeartbeat(cli.sql, {
    processId,
    role: 'worker',
    version: '1.2.3',
    hostname: 'box',
    pid: 1,
    jobTypes: [step],
    typeSlots: [4],
    slots: 4,
    running: 0,
    progressedAt: new Date(),
    metrics: [],
    drain:
      state === undefined
        ? undefined
        : { state, request: { by: 'alice', reason: null, at: new Date().toISOString() } },
  });

describe('workers', () => {
  it('lists each with its slots, types and jobs with age and progress, and names the silent ones', async () => {
    expect((await invoke('workers')).out).toMatch(/^no worker is running/);
    await beat();
    await beat(undefined, 'worker-2');
    await cli.sql`update heartbeats set beat_at = now() - interval '20 seconds' where process_id = 'worker-2'`;
    const attempt = await runningJob(cli.sql, cli.tenantId);
    await storeProgress(cli.sql, [{ token: attempt.token, done: 0.25, note: 'reading' }]);
    await runningJob(cli.sql, cli.tenantId);
    const { out } = await invoke('workers', '--limit', '1');
    expect(out).toMatch(/^worker-1 +box +1\.2\.3 +taking +2\/4 +\S+ +test_step$/m);
    expect(out).toMatch(/^worker-2 +box +1\.2\.3 +silent +0\/4 /m);
    expect(out).toMatch(
      new RegExp(
        `^${attempt.jobId} +test_step +${cli.tenantId} +\\d+ s +25 % reading +worker-1$`,
        'm',
      ),
    );
    expect(out).toContain('1 of 2 running jobs; more with --limit');
    expect(out).toMatch(/^silent for more than 15 s: worker-2; /m);
    await cli.sql`delete from heartbeats where process_id = 'worker-1'`;
    expect(await cli.json('workers')).toMatchObject({
      workers: [
        { workerId: 'worker-1', state: 'silent', host: null, running: 2, beatAt: null },
        { workerId: 'worker-2', state: 'silent', host: 'box', running: 0 },
      ],
      jobs: [{ jobId: attempt.jobId, progress: 0.25, note: 'reading' }, { progress: null }],
      runningJobs: 2,
    });
  });
});

describe('drain', () => {
  beforeEach(() => beat());

  it('waits until the worker says that it is empty, shows it as draining, and can be undone', async () => {
    const attempt = await runningJob(cli.sql, cli.tenantId);
    const drained = invoke('drain', 'worker', '--reason', 'new disk', '--by', 'alice');
    await eventually('the request', async () => (await beat()).drainRequested ?? undefined);
    expect((await beat()).drainRequested).toMatchObject({ by: 'alice', reason: 'new disk' });
    expect((await invoke('workers')).out).toMatch(/^worker-1 .* draining, drain by alice +1\/4/m);
    await beat('draining');
    await finish(cli.sql, attempt);
    await beat('empty');
    expect(await drained).toEqual({
      code: 0,
      out: 'worker worker-1 takes no new jobs; to undo: purser drain worker-1 --undo\nworker worker-1 is empty',
      err: expect.stringContaining('not empty yet: 1 of 1 workers, running jobs: 1'),
    });
    expect((await invoke('workers')).out).toMatch(/^worker-1 .* empty, drain by alice/m);
    expect(await invoke('drain', 'worker-1', '--undo')).toMatchObject({
      code: 0,
      out: 'worker worker-1 takes jobs again',
    });
    expect((await beat()).drainRequested).toBeNull();
    expect((await listActs(cli.sql, { limit: 2 })).toReversed()).toMatchObject([
      { act: 'drain', name: 'alice', reason: 'new disk', target: { workers: ['worker-1'] } },
      { act: 'drain_undo', affected: 1, target: { workers: ['worker-1'] } },
    ]);
  });

  it('does not take what a worker said before for the answer to a new request', async () => {
    await invoke('drain', 'worker-1', '--no-wait');
    await beat('empty');
    await invoke('drain', 'worker-1', '--undo');
    expect(await cli.json('drain', 'worker-1', '--no-wait')).toEqual({
      changed: ['worker-1'],
      workers: [{ workerId: 'worker-1', state: 'draining', running: 0 }],
    });
  });

  it('is no capacity: due jobs of its types are without a worker', async () => {
    await addJob(cli.sql, cli.tenantId);
    const withoutWorker = async () =>
      (await readFlow(cli.sql, { heartbeatMaxAgeMs: 60_000, stalledAfterMs: 0 })).withoutWorker;
    expect(await withoutWorker()).toEqual([]);
    await invoke('drain', 'worker-1', '--no-wait');
    expect(await withoutWorker()).toEqual([step]);
  });

  it('of a worker that falls silent or takes jobs again exits 1, of one that ends exits 0', async () => {
    const drained = async (change: () => Promise<unknown>) => {
      const answer = invoke('drain', 'worker-1');
      await eventually('the request', async () => (await beat()).drainRequested ?? undefined);
      await change();
      return answer;
    };
    expect(await drained(() => invoke('drain', '--all', '--undo'))).toMatchObject({
      code: 1,
      out: expect.stringContaining('its drain was undone'),
    });
    expect(
      await drained(() => cli.sql`update heartbeats set beat_at = now() - interval '20 seconds'`),
    ).toMatchObject({ code: 1, out: expect.stringContaining('fell silent') });
    await invoke('drain', 'worker-1', '--undo');
    expect(await drained(() => cli.sql`delete from heartbeats`)).toMatchObject({
      code: 0,
      out: expect.stringContaining('worker worker-1 has ended'),
    });
  });

  it('of all takes every live worker; without one it says so', async () => {
    await beat(undefined, 'worker-2');
    await beat(undefined, 'worker-3');
    await cli.sql`update heartbeats set beat_at = now() - interval '20 seconds' where process_id = 'worker-3'`;
    expect(await cli.json('drain', '--all', '--no-wait')).toMatchObject({
      changed: ['worker-1', 'worker-2'],
    });
    expect(await cli.json('drain', '--all', '--undo')).toMatchObject({
      changed: ['worker-1', 'worker-2'],
    });
    await cli.sql`delete from heartbeats`;
    expect(await invoke('drain', '--all')).toMatchObject({ code: 0, out: 'no worker is running' });
  });

  it('names the workers where there is no such one, or several', async () => {
    await beat(undefined, 'worker-2');
    expect(await invoke('drain', 'worker-9')).toMatchObject({
      code: 1,
      err: 'there is no worker "worker-9"; workers: worker-1, worker-2',
    });
    expect(await invoke('drain', 'work')).toMatchObject({
      code: 1,
      err: 'worker "work" is the beginning of several: worker-1, worker-2',
    });
    for (const args of [[], ['worker-1', '--all']]) {
      expect(await invoke('drain', ...args)).toMatchObject({ code: 64 });
    }
  });
});
