/** Why a job that is due does not run: pauses, processes, the queue store, limits and its turn. */
import { describe, expect, it } from 'vitest';
import { queueStoreSight, removeHeartbeat, requestDrain } from '../../../src/db/heartbeats.ts';
import { setJobLimit } from '../../../src/jobs/limits/job-limits.ts';
import { addJob, finish, flood, runningJob, step } from '../../jobs/job-steps.ts';
import { addTenant } from '../../support/tenants.ts';
import {
  beat,
  codesOf,
  firstOf,
  other,
  pause,
  sql,
  stopped,
  tenantId,
  waitingRows,
  useArranged,
} from './arranged.ts';

useArranged();

describe('a job that waits', () => {
  it('waits its turn where nothing holds it: its place, and nobody knows for how long', async () => {
    await addJob(sql, tenantId);
    await addJob(sql, await addTenant(sql));
    const jobId = await addJob(sql, tenantId);
    expect(await codesOf(jobId)).toEqual(['turn']);
    expect(await firstOf(jobId)).toMatchObject({
      says: expect.stringMatching(/place 3 among the jobs of 2 tenants.*nobody knows/),
      lift: null,
      facts: { place: '3', tenants: 2, waitFromMs: null, oldestDueAt: expect.any(String) },
    });
  });

  it('is expected within a range, from the rate at which its type ends jobs', async () => {
    for (let n = 0; n < 3; n += 1) await finish(sql, await runningJob(sql, tenantId));
    const { facts } = await firstOf(await addJob(sql, tenantId));
    expect(facts).toMatchObject({ place: '1', waitFromMs: expect.any(Number) });
    expect(Number(facts['waitToMs'])).toBeGreaterThan(Number(facts['waitFromMs']));
  });

  it('should have been dispatched, where it is the first for a minute and a worker has a free slot', async () => {
    const jobId = await addJob(sql, tenantId);
    await sql`update purser.waiting set scheduled_for = now() - interval '2 minutes'`;
    expect(await firstOf(jobId)).toMatchObject({
      code: 'turn',
      says: expect.stringContaining('it should have been dispatched long ago'),
      lift: 'purser doctor',
    });
    await beat('worker', [step], 5);
    expect(await firstOf(jobId)).toMatchObject({ code: 'turn', lift: null });
  });

  it('is behind its tenant, by turns of the weights, and not behind all jobs of another tenant', async () => {
    await flood(sql, await addTenant(sql), 50);
    await addJob(sql, tenantId);
    expect((await firstOf(await addJob(sql, tenantId))).facts).toMatchObject({ place: '4' });
  });

  it('has the place 1,000+ where that many come before it', async () => {
    await waitingRows(1_200);
    const last = await addJob(sql, tenantId, { priority: -1_000 });
    expect((await firstOf(last)).facts).toMatchObject({ place: '1,000+', waitToMs: null });
    const first = await addJob(sql, tenantId, { priority: 1_000 });
    expect((await firstOf(first)).facts).toMatchObject({ place: '1' });
  });

  it.each([
    ['all', '--all', 'everything'],
    ['job_type', `--type=${step}`, `job type ${step}`],
    ['tenant', '', ''],
  ] as const)('is paused (%s): by whom, since when and why', async (scope, option, title) => {
    const jobId = await addJob(sql, tenantId);
    await pause(scope, scope === 'tenant' ? tenantId : scope === 'all' ? '' : step);
    const of = scope === 'tenant' ? `tenant ${tenantId}` : title;
    expect(await firstOf(jobId)).toMatchObject({
      code: 'paused',
      says: expect.stringMatching(
        new RegExp(`^${of} is paused by alice since 2\\S+Z: bad release$`),
      ),
      lift: `purser resume ${scope === 'tenant' ? `--tenant=${tenantId}` : option}`,
      facts: { by: 'alice', reason: 'bad release' },
    });
  });

  it('has no scheduler', async () => {
    const jobId = await addJob(sql, tenantId);
    await stopped('scheduler');
    expect(await firstOf(jobId)).toMatchObject({
      code: 'no_scheduler',
      lift: 'purser start scheduler',
    });
  });

  it('has no worker at all, or none of its type, and then the types of those that live are named', async () => {
    const jobId = await addJob(sql, tenantId);
    await stopped('worker');
    expect(await firstOf(jobId)).toMatchObject({ code: 'no_worker', lift: 'purser start worker' });
    await beat('worker', [other]);
    expect(await firstOf(jobId)).toMatchObject({
      code: 'no_worker_for_type',
      says: `no live worker runs jobs of ${step}; the 1 that live run ${other}`,
      facts: { running: [other] },
    });
  });

  it('has workers that drain alone, and each is named', async () => {
    const jobId = await addJob(sql, tenantId);
    await beat('worker', [step]);
    expect(await codesOf(jobId)).toEqual(['turn']);
    await requestDrain(sql, ['worker-1'], { by: 'ann', reason: null });
    expect(await firstOf(jobId)).toMatchObject({
      code: 'workers_draining',
      lift: 'purser drain worker-1 --undo',
    });
    await requestDrain(sql, ['worker-1'], null);
    expect(await codesOf(jobId)).toEqual(['turn']);
  });

  it('waits for the queue store while no scheduler reaches it, and for how long', async () => {
    const jobId = await addJob(sql, tenantId);
    const saw = queueStoreSight(sql, 'scheduler-1');
    await saw(true);
    await sql`update heartbeats set queue_store_away_since = now() - interval '40 seconds' where role = 'scheduler'`;
    await saw(true);
    expect(await firstOf(jobId)).toMatchObject({
      code: 'queue_store_away',
      says: expect.stringMatching(/^the queue store has not answered scheduler-1 for 4\d s/),
    });
    await beat('scheduler', [], 0, 'scheduler-2');
    expect(await codesOf(jobId)).toEqual(['turn']);
    await removeHeartbeat(sql, 'scheduler-2');
    await saw(false);
    expect(await codesOf(jobId)).toEqual(['turn']);
  });

  it('is a suspect in quarantine', async () => {
    const attempt = await runningJob(sql, tenantId);
    await finish(sql, attempt, {
      toState: 'pending',
      countsAttempt: false,
      suspect: true,
      lost: 'shared',
      detail: { reason: 'thread crashed' },
    });
    expect(await firstOf(attempt.jobId)).toMatchObject({
      code: 'suspect',
      says: expect.stringMatching(/\(1 losses\).*runs alone in a process of its own/),
    });
  });
});

describe('a limit that is full', () => {
  const full = (of: string, option: string) => ({
    code: 'limit_running',
    says: `the limit of ${of}, set by bob, is full: 1 of 1 jobs at once are queued or run`,
    lift: `purser limits set ${option} --running N`,
    facts: { limit: 1, used: 1 },
  });

  it('of a tenant, a type, or a tenant in a type is named', async () => {
    const targets = [
      [{ tenantId }, `tenant ${tenantId}`, `--tenant=${tenantId}`],
      [{ jobType: step }, `job type ${step}`, `--type=${step}`],
      [
        { tenantId, jobType: step },
        `job type ${step} of tenant ${tenantId}`,
        `--tenant=${tenantId} --type=${step}`,
      ],
    ] as const;
    await runningJob(sql, tenantId);
    const jobId = await addJob(sql, tenantId);
    for (const [target, of, option] of targets) {
      await setJobLimit(sql, target, { maxRunning: 1, by: 'bob' });
      expect(await firstOf(jobId)).toMatchObject(full(of, option));
      await setJobLimit(sql, target, { maxRunning: 2, by: 'bob' });
      expect(await codesOf(jobId)).toEqual(['turn']);
      await sql`delete from job_limits`;
    }
  });

  it('of a group, its own, of its kind or of all tenants, is named', async () => {
    await runningJob(sql, tenantId, { group: 'user:42' });
    const jobId = await addJob(sql, tenantId, { group: 'user:42' });
    const beside = await addJob(sql, tenantId, { group: 'user:43' });
    const targets = [
      [{ group: 'user:42' }, 'group user:42', '--group=user:42'],
      [
        { group: 'user:*', eachTenant: true },
        'group user:* of each tenant',
        `--group='user:*' --each-tenant`,
      ],
      [
        { tenantId, group: 'user:42' },
        `group user:42 of tenant ${tenantId}`,
        `--tenant=${tenantId} --group=user:42`,
      ],
    ] as const;
    for (const [target, of, option] of targets) {
      await setJobLimit(sql, target, { maxRunning: 1, by: 'bob' });
      expect(await firstOf(jobId)).toMatchObject(full(of, option));
      expect(await codesOf(jobId)).toEqual(['limit_running', 'turn']);
      expect(await codesOf(beside)).toEqual(['turn']);
      await sql`delete from job_limits`;
    }
  });

  it('of starts is named with the time of the next one', async () => {
    await setJobLimit(sql, { tenantId }, { maxStarts: 1, perSeconds: 60, by: 'bob' });
    await finish(sql, await runningJob(sql, tenantId));
    expect(await firstOf(await addJob(sql, tenantId))).toMatchObject({
      code: 'limit_starts',
      says: expect.stringMatching(/its 1 starts in 60 s are used; the next one may start at 2/),
      lift: `purser limits set --tenant=${tenantId} --starts N --per 60s`,
    });
  });
});
