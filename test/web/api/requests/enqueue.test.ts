/** Enqueueing by the API: what is stored, and what is refused, as by the command line. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { registerJobTypes } from '../../../../src/jobs/registration.ts';
import { keys } from '../../../cli/locks/walked-commands.ts';
import { addTenant } from '../../../support/tenants.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import { jobsOf, program } from '../api-fixture.ts';
import type { Ask } from '../api-fixture.ts';

const limits = {
  timeoutMs: 1_000,
  maxAttempts: 3,
  onBudget: 'park',
  giveUpAfterMs: 60_000,
} as const;

let fixture: WebFixture;
let ask: Ask;
beforeAll(async () => {
  fixture = await startFixture(undefined, {
    handlers: join(import.meta.dirname, 'handlers.mjs'),
    keys,
  });
  await registerJobTypes(fixture.database.system, [
    { type: 'sealed', payloadSchema: {}, secretPaths: ['$."token"'], ...limits },
    { type: 'cost_ingestion', payloadSchema: {}, ...limits },
  ]);
  ask = await program(fixture, 'operator');
});
afterAll(() => fixture.close());

const stored = async (jobId: string) => {
  const [row] = await fixture.database.system`
    select tenant_id, job_type, payload, dedup_key, priority, group_name, scheduled_for from jobs where id = ${jobId}`;
  return row;
};

it('stores the job with all that was given', async () => {
  const { tenantId } = fixture;
  const runAt = '2030-01-01T02:00:00+02:00';
  const answer = await ask('/jobs', {
    body: {
      tenantId,
      jobType: 'report',
      payload: { recipient: 'a', list: [1, { b: null }] },
      dedupKey: 'k',
      runAt,
      priority: -5,
      group: 'user:1',
    },
  });
  expect([answer.status, answer.json.created]).toEqual([201, true]);
  expect(await stored(answer.json.jobId)).toEqual({
    tenant_id: tenantId,
    job_type: 'report',
    payload: { recipient: 'a', list: [1, { b: null }] },
    dedup_key: 'k',
    priority: -5,
    group_name: 'user:1',
    scheduled_for: new Date(runAt),
  });
  const again = await ask('/jobs', {
    body: { tenantId, jobType: 'report', payload: { recipient: 'b' }, dedupKey: 'k' },
  });
  expect(again.json).toMatchObject({ jobId: answer.json.jobId, created: false });
});

it('warns where no live worker runs the type, and names no types of others to a limited token', async () => {
  const { system } = fixture.database;
  await system`
    insert into heartbeats (process_id, role, version, hostname, pid, beat_at, job_types)
    values ('w', 'worker', '1', 'h', 1, now() + interval '1 hour', '{another_type}')`;
  const body = { tenantId: fixture.tenantId, jobType: 'report', payload: { recipient: 'a' } };
  const limited = await program(fixture, 'operator', { jobTypes: ['report'] });
  const { warning } = (await limited('/jobs', { body })).json;
  expect(warning).toContain('no live worker runs jobs of report');
  expect(warning).not.toContain('another_type');
});

it('refuses a payload that the schema of its handler refuses, without its values', async () => {
  const before = await jobsOf(fixture, fixture.tenantId);
  const body = {
    tenantId: fixture.tenantId,
    jobType: 'report',
    payload: { recipient: 5, x: 'pw' },
  };
  const answer = await ask('/jobs', { body });
  expect([answer.status, answer.json.code]).toEqual([400, 'invalid_payload']);
  expect(answer.json.detail).toContain('recipient: must be text');
  expect(answer.text).not.toContain('pw');
  expect(await jobsOf(fixture, fixture.tenantId)).toBe(before);
});

it('replays a dead letter with another payload, once, if the schema of its handler takes it', async () => {
  const { tenantId } = fixture;
  const { system } = fixture.database;
  const [dead] = await system<{ id: string }[]>`
    insert into background_jobs (tenant_id, job_type, state, payload, error, attempt, max_attempts, give_up_at, finished_at)
    values (${tenantId}, 'report', 'dead_letter', '{"recipient": 5, "note": "a"}', '{"code": "x"}', 3, 3, now(), now())
    returning id`;
  const edit = (payload: unknown, more: object = { reason: 'a typing error' }) =>
    ask(`/dead-letters/${dead?.id}/edit`, { body: { payload, ...more } });
  const before = await jobsOf(fixture, tenantId);
  const refused = [
    await edit({ recipient: 6, note: 'pw' }),
    await edit({ recipient: 5, note: 'a' }),
    await edit(['recipient']),
    await edit({ recipient: 'a' }, {}),
    await ask('/dead-letters/999999999/edit', { body: { payload: {}, reason: 'x' } }),
  ];
  expect(refused.map(({ status, json }) => [status, json.code])).toEqual([
    [400, 'invalid_payload'],
    [409, 'payload_unchanged'],
    [400, 'invalid_request'],
    [400, 'invalid_request'],
    [404, 'unknown_job'],
  ]);
  expect(refused[0]?.text).not.toContain('pw');
  expect(await jobsOf(fixture, tenantId)).toBe(before);

  const answer = await edit({ recipient: 'a', note: 'a' });
  expect([answer.status, answer.json.changedFields]).toEqual([200, ['recipient']]);
  expect(await stored(answer.json.jobId)).toMatchObject({
    payload: { recipient: 'a', note: 'a' },
  });
  const again = await edit({ recipient: 'b', note: 'a' });
  expect([again.status, again.json.code]).toEqual([409, 'already_replayed']);
  expect(await jobsOf(fixture, tenantId)).toBe(before + 1);
});

it('stores secret fields encrypted, and nothing where it has no key', async () => {
  const { tenantId } = fixture;
  const body = { tenantId, jobType: 'sealed', payload: { token: 'canary-of-a-secret', open: 1 } };
  const answer = await ask('/jobs', { body });
  expect(answer.status).toBe(201);
  const row = await stored(answer.json.jobId);
  expect(row).toMatchObject({ payload: { open: 1 } });
  expect(JSON.stringify(row)).not.toContain('canary');
  const shown = await ask(`/jobs/${answer.json.jobId}`);
  expect(shown.json.payload).toEqual({ token: '[secret]', open: 1 });
  const without = await startFixture();
  try {
    const { system } = without.database;
    await registerJobTypes(system, [
      { type: 'sealed', payloadSchema: {}, secretPaths: ['$."token"'], ...limits },
    ]);
    const refusing = await program(without, 'operator');
    const refused = await refusing('/jobs', { body: { ...body, tenantId: without.tenantId } });
    expect([refused.status, refused.json.code]).toEqual([503, 'encryption_key_missing']);
    expect(await jobsOf(without, without.tenantId)).toBe(0);
  } finally {
    await without.close();
  }
});

it.each([
  ['a tenant that is not there', { tenantId: 'nobody' }, 404, 'unknown_tenant'],
  ['a type that is not there', { jobType: 'no_such' }, 404, 'unknown_job_type'],
  ['a built-in type that is off', { jobType: 'cost_ingestion' }, 409, 'builtin_disabled'],
  ['a group that is a limit', { group: 'user:*' }, 400, 'invalid_request'],
  ['a time beyond the year 9999', { runAt: '9999-06-01T00:00:00Z' }, 400, 'invalid_request'],
])('refuses %s', async (_, field, status, code) => {
  const body = { tenantId: fixture.tenantId, jobType: 'report', payload: { recipient: 'a' } };
  const answer = await ask('/jobs', { body: { ...body, ...field } });
  expect([answer.status, answer.json.code]).toEqual([status, code]);
});

it('answers 429 with Retry-After where the backlog of the tenant is full', async () => {
  const { system } = fixture.database;
  const tenantId = await addTenant(system);
  await system`update tenants set max_backlog_jobs = 1 where id = ${tenantId}`;
  const body = { tenantId, jobType: 'report', payload: { recipient: 'a' } };
  expect((await ask('/jobs', { body })).status).toBe(201);
  const full = await ask('/jobs', { body });
  expect([full.status, full.json.code, full.headers.get('retry-after')]).toEqual([
    429,
    'backlog_full',
    '5',
  ]);
  expect(await jobsOf(fixture, tenantId)).toBe(1);
});
