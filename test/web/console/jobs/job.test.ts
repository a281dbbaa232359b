/** The page of a job: what it shows, and to whom. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { markSent } from '../../../../src/budget/reserve.ts';
import { markUnknown } from '../../../../src/budget/settle.ts';
import { storeLogLines } from '../../../../src/jobs/log-lines.ts';
import { registerJobTypes } from '../../../../src/jobs/registration.ts';
import { browsersOf, sendForm } from '../../access/access-fixture.ts';
import type { Answer } from '../../browser.ts';
import { again, endedJob, exhausted, fatal } from '../../../jobs/failures/ends.ts';
import {
  addJob,
  addJobType,
  claimJob,
  finish,
  begin,
  runningJob,
} from '../../../jobs/job-steps.ts';
import { reserve } from '../../../support/holds.ts';
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

describe('the page', () => {
  it('shows attempts with their errors, stacks and logs, and the chain of replays', async () => {
    const { system } = fixture.database;
    const first = await runningJob(system, tenantId);
    await storeLogLines(system, [
      {
        jobId: first.jobId,
        tenantId,
        attempt: 1,
        lines: [{ at: new Date().toISOString(), level: 'info', text: 'a line of the log' }],
      },
    ]);
    await finish(system, first, again('http_500', 'the first failure'));
    const second = await begin(system, await claimJob(system, first.jobId));
    await finish(system, second, {
      ...exhausted('boom', 'the last failure'),
      error: { code: 'boom', message: 'the last failure', stack: 'Error: x\n    at work (a.js:1)' },
    });
    const answer = await act(first.jobId, 'replay', { reason: 'mended' });
    const { text } = await pageOf(first.jobId);
    for (const shown of [
      'the first failure',
      'the last failure',
      'at work (a.js:1)',
      'a line of the log',
      'worker-1',
      'Replays',
      'was replayed by job',
    ]) {
      expect(text).toContain(shown);
    }
    expect(text).not.toContain('/replay"');
    const replay = await browserFor('operator').get(answer.headers.get('location') ?? '');
    expect(replay.text).toContain('This new job runs the dead letter again.');
    expect(replay.text).toContain(`href="/jobs/${first.jobId}"`);
  });

  it('shows each LLM call with its hold and what it cost', async () => {
    const { system } = fixture.database;
    const running = await runningJob(system, tenantId);
    const attempt = { ...running, tenantId };
    await reserve(system, attempt, '0.25');
    const unknown = await reserve(system, attempt, '0.125');
    await markSent(system, unknown);
    await markUnknown(system, unknown);
    const { text } = await pageOf(running.jobId, 'viewer');
    expect(text).toContain('test-model');
    expect(text).toContain('$0.25');
    expect(text.match(/\$0\.125/g)).toHaveLength(2);
    expect(text).toContain('>unknown<');
    expect(text).toContain('>runs<');
  });

  it('says why a job waits, with the command', async () => {
    const { system } = fixture.database;
    const { text } = await pageOf(await addJob(system, tenantId), 'viewer');
    expect(text).toContain('no scheduler');
    expect(text).toContain('purser start scheduler');
  });

  it('shows payload and result to operators only, and secret fields to nobody', async () => {
    const { system } = fixture.database;
    const type = {
      type: 'with_secret',
      timeoutMs: 1_000,
      maxAttempts: 1,
      onBudget: 'park',
      giveUpAfterMs: 60_000,
      payloadSchema: {},
      secretPaths: ['$."hook"."token"'],
    } as const;
    await registerJobTypes(system, [{ ...type, secretPaths: [] }]);
    const payload = {
      shown: 'payload of a customer',
      hook: { token: 'sk-in-the-clear' },
      old: { $secret: 'v2.1.sealed' },
    };
    const [job] = await system<{ id: string }[]>`
      insert into background_jobs (tenant_id, job_type, state, payload, result, attempt, max_attempts, give_up_at, finished_at)
      values (${tenantId}, 'with_secret', 'completed', ${system.json(payload)}, '{"answer": "result of a customer"}', 1, 1,
        now(), now())
      returning id`;
    await registerJobTypes(system, [type]);
    const forOperator = (await pageOf(job?.id ?? '')).text;
    expect(forOperator).toContain('payload of a customer');
    expect(forOperator).toContain('result of a customer');
    expect(forOperator.match(/\[secret\]/g)).toHaveLength(2);
    const forViewer = (await pageOf(job?.id ?? '', 'viewer')).text;
    expect(forViewer).not.toContain('of a customer');
    for (const text of [forOperator, forViewer])
      expect(text).not.toMatch(/sk-in-the-clear|v2\.1\./);
  });

  it('of a viewer has no act', async () => {
    const { system } = fixture.database;
    for (const jobId of [
      await addJob(system, tenantId),
      await endedJob(system, tenantId, fatal('x', 'y')),
    ]) {
      expect((await pageOf(jobId, 'viewer')).text).not.toMatch(/<form class="act"/);
      expect((await pageOf(jobId)).text).toMatch(/<form class="act"/);
    }
  });

  it('cuts a payload that a browser would labour with, and says how to see all of it', async () => {
    const { system } = fixture.database;
    const jobId = await addJob(system, tenantId, { payload: { text: 'x'.repeat(900_000) } });
    const { text } = await pageOf(jobId);
    expect(text.length).toBeLessThan(150_000);
    expect(text).toContain(`purser jobs show ${jobId}`);
  });
});
