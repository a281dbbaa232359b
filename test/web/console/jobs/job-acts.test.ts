/** What operators do on the page of a job, once, on the record, and nobody else. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { actsOf, browsersOf, sendForm } from '../../access/access-fixture.ts';
import { hiddenFields } from '../../browser.ts';
import type { Answer } from '../../browser.ts';
import { endedJob, exhausted } from '../../../jobs/failures/ends.ts';
import { addJob, addJobType, finish, jobRow, runningJob } from '../../../jobs/job-steps.ts';
import { addTenant } from '../../../support/tenants.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';

let fixture: WebFixture;
let tenantId: string;
let browserFor: Awaited<ReturnType<typeof browsersOf>>;
beforeAll(async () => {
  fixture = await startFixture();
  browserFor = await browsersOf(fixture);
  await addJobType(fixture.database.system);
});
beforeEach(async () => {
  tenantId = await addTenant(fixture.database.system, { limitUsd: '100', plan: 'pro' });
});
afterAll(() => fixture.close());

const pageOf = (jobId: string, role: 'viewer' | 'operator' = 'operator'): Promise<Answer> =>
  browserFor(role).get(`/jobs/${jobId}`);

/** Sends the form of the page with that action. */
const act = (jobId: string, name: string, fields: Record<string, string> = {}): Promise<Answer> =>
  sendForm(browserFor('operator'), `/jobs/${jobId}`, `/jobs/${jobId}/${name}`, fields);

describe('an act', () => {
  it('cancels a job that waits, once, under the name of who is logged in', async () => {
    const { system } = fixture.database;
    const jobId = await addJob(system, tenantId);
    const answer = await act(jobId, 'cancel', { reason: ' wrong customer ' });
    expect([answer.status, answer.headers.get('location')]).toEqual([
      303,
      `/jobs/${jobId}?done=cancelled`,
    ]);
    expect((await jobRow(system, jobId)).state).toBe('cancelled');
    const acts = await actsOf(fixture, 'cancel');
    expect(acts.at(-1)).toMatchObject({
      operator: 'the operator',
      proof: 'session',
      door: 'console',
      target: { jobId },
    });
    const [{ reason } = { reason: '' }] = await system<{ reason: string }[]>`
      select reason from operator_acts where act = 'cancel' order by id desc limit 1`;
    expect(reason).toBe('wrong customer');
    const done = await browserFor('operator').get(answer.headers.get('location') ?? '');
    expect(done.text).toContain('The job is cancelled.');
    expect(done.text).not.toContain('/cancel"');
  });

  it('asks the worker of one that runs, and says so of one that has ended', async () => {
    const { system } = fixture.database;
    const running = await runningJob(system, tenantId);
    const open = await pageOf(running.jobId);
    const asked = await act(running.jobId, 'cancel', { reason: 'stop' });
    expect(asked.headers.get('location')).toContain('done=requested');
    expect((await pageOf(running.jobId)).text).toContain('asked by the operator: stop');
    await finish(system, running);
    const action = `/jobs/${running.jobId}/cancel`;
    const late = await browserFor('operator').post(action, {
      ...hiddenFields(open.text, action),
      reason: 'late',
    });
    expect(late.headers.get('location')).toContain('done=ended');
  });

  it('replays a dead letter once, also when two press the button at the same time', async () => {
    const { system } = fixture.database;
    const jobId = await endedJob(system, tenantId, exhausted('x', 'y'));
    const [one, other] = await Promise.all([act(jobId, 'replay'), act(jobId, 'replay')]);
    const replays = await system`select id from jobs where replay_of = ${jobId}`;
    expect(replays).toHaveLength(1);
    const targets = [one, other].map((answer) => answer.headers.get('location') ?? '').toSorted();
    expect(targets).toEqual([
      `/jobs/${replays[0]?.['id']}?done=replayed`,
      `/jobs/${replays[0]?.['id']}?done=replayed_before`,
    ]);
  });

  it('discards a dead letter with a reason', async () => {
    const { system } = fixture.database;
    const jobId = await endedJob(system, tenantId, exhausted('x', 'y'));
    const answer = await act(jobId, 'discard', { reason: 'done by hand' });
    expect(answer.status).toBe(303);
    expect(await system`select from purser.dead_letters where job_id = ${jobId}`).toHaveLength(0);
    expect((await actsOf(fixture, 'discard')).at(-1)).toMatchObject({ operator: 'the operator' });
    expect((await pageOf(jobId)).text).toContain('was discarded');
  });

  it('without a reason, with a wrong one or an unknown field changes nothing', async () => {
    const { system } = fixture.database;
    const jobId = await addJob(system, tenantId);
    const wrong: Record<string, string>[] = [
      {},
      { reason: '  ' },
      { reason: 'a\nb' },
      { reason: 'x'.repeat(501) },
      { reason: 'a', other: 'x' },
      { reason: 'a\u0000b' },
    ];
    for (const fields of wrong) {
      const { status, text } = await act(jobId, 'cancel', fields);
      expect([fields, status]).toEqual([fields, 400]);
      expect(text).toMatch(/reason/);
    }
    expect((await jobRow(system, jobId)).state).toBe('pending');
  });

  it('on what it does not fit is refused with what was found', async () => {
    const { system } = fixture.database;
    const waiting = await addJob(system, tenantId);
    const { text } = await pageOf(waiting);
    const { csrf = '' } = hiddenFields(text, `/jobs/${waiting}/cancel`);
    const operator = browserFor('operator');
    const cases = [
      [`/jobs/${waiting}/replay`, 409, 'it is pending'],
      [`/jobs/${waiting}/discard`, 409, 'it is pending'],
      ['/jobs/987654321/cancel', 404, 'there is no job'],
      ['/jobs/987654321/replay', 404, 'no such job'],
      ['/jobs/x/cancel', 404, 'there is no job'],
    ] as const;
    for (const [path, status, says] of cases) {
      const answer = await operator.post(path, { csrf, reason: 'try' });
      expect([path, answer.status]).toEqual([path, status]);
      expect(answer.text).toContain(says);
    }
  });

  it('needs the token of its page, a page of this host and the role', async () => {
    const { system } = fixture.database;
    const jobId = await addJob(system, tenantId);
    const action = `/jobs/${jobId}/cancel`;
    const { text } = await pageOf(jobId);
    const form = { ...hiddenFields(text, action), reason: 'x' };
    const operator = browserFor('operator');
    const refused = [
      await operator.post(action, { reason: 'x' }),
      await operator.post(action, { ...form, csrf: 'A'.repeat(43) }),
      await operator.post(action, form, { origin: 'http://evil.example' }),
      await browserFor('viewer').post(action, form),
    ];
    expect(refused.map(({ status }) => status)).toEqual([403, 403, 403, 403]);
    expect((await jobRow(system, jobId)).state).toBe('pending');
  });
});
