/** Batches in the console: from a filter to the preview, started, stopped, resumed and undone, each on the record. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { stepBatches } from '../../../../src/operations/batches/step.ts';
import type { PayloadDoor } from '../../../../src/web/payload-door.ts';
import { PurserError } from '../../../../src/errors.ts';
import { actsOf, browsersOf, sendForm } from '../../access/access-fixture.ts';
import { hiddenFields } from '../../browser.ts';
import type { Answer } from '../../browser.ts';
import { endedJob, exhausted, fatal } from '../../../jobs/failures/ends.ts';
import { addJob, addJobType, jobRow, step } from '../../../jobs/job-steps.ts';
import { addTenant } from '../../../support/tenants.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';

/** Takes payloads with a number of days, of `step` alone. */
const schemaOf: PayloadDoor['schemaOf'] = () => async (jobType) => {
  if (jobType !== step) return undefined;
  return async (_place, payload) => {
    const { days } = payload as { days?: unknown };
    if (typeof days === 'number') return payload;
    throw new PurserError('invalid_payload', 'payload: days must be a number', { status: 400 });
  };
};

let fixture: WebFixture;
let tenantId: string;
let browserFor: Awaited<ReturnType<typeof browsersOf>>;
beforeAll(async () => {
  fixture = await startFixture(undefined, { schemaOf });
  browserFor = await browsersOf(fixture);
  await addJobType(fixture.database.system);
  await addJobType(fixture.database.system, 'other_step');
});
beforeEach(async () => {
  await fixture.database.system`delete from tenants`;
  tenantId = await addTenant(fixture.database.system);
});
afterAll(() => fixture.close());

const get = (path: string, role: 'viewer' | 'operator' = 'operator'): Promise<Answer> =>
  browserFor(role).get(path);

const send = (page: string, action: string, fields: Record<string, string>): Promise<Answer> =>
  sendForm(browserFor('operator'), page, action, fields);

/** Presses the button of that list, and returns the address of the batch. */
async function preview(
  list: string,
  act: string,
  more: Record<string, string> = {},
): Promise<string> {
  const answer = await send(list, '/batches', { act, limit: '', ...more });
  expect(answer.status).toBe(303);
  const location = answer.headers.get('location') ?? '';
  expect(location).toMatch(/^\/batches\/\d+\?done=previewed$/);
  return location.replace(/\?.*/, '');
}

async function letters(count: number, code = 'slow'): Promise<string[]> {
  const made: string[] = [];
  for (let n = 0; n < count; n += 1) {
    made.push(await endedJob(fixture.database.system, tenantId, exhausted(code, 'x')));
  }
  return made;
}

async function execute(): Promise<void> {
  const { system } = fixture.database;
  await system`update purser.batches set next_at = now() - interval '10 seconds' where next_at is not null`;
  await stepBatches(system);
}

const listed = async (): Promise<number> =>
  (await fixture.database.system`select from purser.dead_letters`).length;

describe('a batch', () => {
  it('is previewed, started, stopped, resumed and undone, each on the record of who did it', async () => {
    await letters(6);
    await letters(2, 'other');
    const path = await preview('/dead-letters?code=slow', 'replay');
    const before = await get(path);
    for (const text of ['What it would do', 'code slow', tenantId, '$0.00', 'previewed']) {
      expect(before.text).toContain(text);
    }
    expect(await listed()).toBe(8);
    const started = await send(path, `${path}/start`, { perSecond: '2', reason: 'mended' });
    expect(started.headers.get('location')).toBe(`${path}?done=started`);
    await execute();
    const running = await get(path);
    expect(running.text).toMatch(/<progress value="[1-9]/);
    expect(running.text).not.toContain(`${path}/start`);
    await send(path, `${path}/stop`, { reason: 'too fast' });
    const stopped = await listed();
    await execute();
    expect(await listed()).toBe(stopped);
    await send(path, `${path}/resume`, { perSecond: '1000', reason: 'go on' });
    await execute();
    expect(await listed()).toBe(2);
    await send(path, `${path}/undo`, { reason: 'not now' });
    for (let n = 0; n < 4; n += 1) await execute();
    expect((await get(path)).text).toContain('6 undone');
    expect(await listed()).toBe(8);
    for (const act of ['preview', 'start', 'stop', 'resume', 'undo']) {
      const [row] = await actsOf(fixture, `batch_${act}`);
      expect([act, row]).toMatchObject([
        act,
        { operator: 'the operator', door: 'console', proof: 'session' },
      ]);
    }
    const list = await get('/batches', 'viewer');
    expect(list.text).toContain(`href="${path}"`);
  });

  it('is tried on a few jobs of its filter first', async () => {
    await letters(3);
    const path = await preview('/dead-letters?code=slow', 'replay', { limit: '1' });
    expect((await get(path)).text).toContain('1, the oldest; the filter takes more');
    await send(path, `${path}/start`, { perSecond: '10', reason: 'canary' });
    await execute();
    expect(await listed()).toBe(2);
    for (const limit of ['0', '-1', '1.5', 'x', '100001']) {
      const answer = await send('/dead-letters', '/batches', { act: 'replay', limit });
      expect([limit, answer.status]).toEqual([limit, 400]);
    }
  });

  it('cancels jobs that wait, of the list of jobs', async () => {
    const { system } = fixture.database;
    const jobs = [await addJob(system, tenantId), await addJob(system, tenantId)];
    const other = await addJob(system, await addTenant(system));
    const path = await preview(`/jobs?tenant=${tenantId}`, 'cancel');
    await send(path, `${path}/start`, { perSecond: '100', reason: 'left' });
    await execute();
    const states = await Promise.all(jobs.map(async (id) => (await jobRow(system, id)).state));
    expect(states).toEqual(['cancelled', 'cancelled']);
    expect((await jobRow(system, other)).state).toBe('pending');
  });

  it('takes no wrong pace, act, filter or reason', async () => {
    await letters(1);
    const path = await preview('/dead-letters', 'discard');
    for (const perSecond of ['0', '1001', '-1', '1.5', 'x', '']) {
      const answer = await send(path, `${path}/start`, { perSecond, reason: 'x' });
      expect([perSecond, answer.status]).toEqual([perSecond, 400]);
      expect(answer.text).toContain('perSecond');
    }
    expect((await send(path, `${path}/start`, { perSecond: '5' })).status).toBe(400);
    const wrong: (readonly [Record<string, string>, number])[] = [
      [{ act: 'delete' }, 400],
      [{ act: 'replay', state: 'running' }, 400],
      [{ act: 'replay', tenant: 'nobody' }, 404],
      [{ act: 'replay', other: 'x' }, 400],
    ];
    for (const [fields, status] of wrong) {
      expect([fields, (await send('/dead-letters', '/batches', fields)).status]).toEqual([
        fields,
        status,
      ]);
    }
    expect(await listed()).toBe(1);
  });

  it('is not there for a wrong id, and refuses what does not fit its state', async () => {
    for (const path of ['/batches/987654', '/batches/x', '/batches/0']) {
      expect((await get(path)).status).toBe(404);
    }
    await letters(1);
    const path = await preview('/dead-letters', 'replay');
    const { csrf = '' } = hiddenFields((await get(path)).text, `${path}/start`);
    const answer = await browserFor('operator').post(`${path}/stop`, { csrf, reason: 'x' });
    expect(answer.status).toBe(409);
    expect(answer.text).toContain('is previewed');
  });

  it('is started by operators only, with the token of the page', async () => {
    await letters(1);
    const path = await preview('/dead-letters', 'replay');
    const forViewer = await get(path, 'viewer');
    expect(forViewer.status).toBe(200);
    expect(forViewer.text).not.toContain(`${path}/start`);
    expect((await get('/dead-letters', 'viewer')).text).not.toContain('action="/batches"');
    const form = { perSecond: '5', reason: 'x' };
    expect((await browserFor('operator').post(`${path}/start`, form)).status).toBe(403);
    const stolen = hiddenFields((await get(path)).text, `${path}/start`);
    expect((await browserFor('viewer').post(`${path}/start`, { ...stolen, ...form })).status).toBe(
      403,
    );
    expect(await listed()).toBe(1);
  });
});

describe('an edit', () => {
  const edit = (jobId: string, payload: string): Promise<Answer> =>
    send(`/jobs/${jobId}`, `/jobs/${jobId}/edit`, { payload, reason: 'a typing error' });

  it('replays one dead letter with a payload that its handler takes, and keeps the old one', async () => {
    const { system } = fixture.database;
    const [jobId = ''] = await letters(1);
    const answer = await edit(jobId, '{"days": 30}');
    expect(answer.headers.get('location')).toMatch(/^\/jobs\/\d+\?done=edited$/);
    const made = /\/jobs\/(\d+)/.exec(answer.headers.get('location') ?? '')?.[1] ?? '';
    expect((await jobRow(system, made)).payload).toEqual({ days: 30 });
    expect((await jobRow(system, jobId)).payload).toEqual({});
    const [act] = await system<{ text: string }[]>`
      select concat(target, before, after, reason) as text from operator_acts where act = 'replay_edited'`;
    expect(act?.text).toContain('days');
    expect(act?.text).not.toContain('30');
  });

  it('refuses what its handler, JSON or nobody takes, and changes nothing', async () => {
    const [jobId = ''] = await letters(1);
    const other = await endedJob(fixture.database.system, tenantId, fatal('x', 'y'));
    await fixture.database.system`update jobs set job_type = 'other_step' where id = ${other}`;
    const cases = [
      [jobId, '{"days": "many"}', 400, 'days must be a number'],
      [jobId, '{"days": 3', 400, 'no JSON'],
      [jobId, '[1]', 400, 'JSON object'],
      [jobId, '{}', 409, 'is the payload that job'],
      [other, '{"days": 1}', 409, 'PURSER_HANDLERS'],
    ] as const;
    for (const [id, payload, status, says] of cases) {
      const answer = await edit(id, payload);
      expect([payload, answer.status]).toEqual([payload, status]);
      expect(answer.text).toContain(says);
    }
    expect(await listed()).toBe(2);
  });
});
