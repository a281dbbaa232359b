/** What a job with secret fields hands on, to a child job or in a result of any size, keeps its secrecy or is refused. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { EncryptionKeyManager } from '../../src/crypto/keyring.ts';
import { generateSalt } from '../../src/crypto/salt.ts';
import { enqueue } from '../../src/handlers/client.ts';
import { defineHandler } from '../../src/handlers/define.ts';
import type { JobContext } from '../../src/handlers/define.ts';
import { done } from '../../src/handlers/outcome.ts';
import { secret } from '../../src/handlers/secret.ts';
import { jobRow, untilState } from '../jobs/job-steps.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from './fleet.ts';
import type { Fleet } from './fleet.ts';

const token = 'canary "of two\nlines" and more';
const payload = z.object({ token: secret(z.string()), how: z.string() });
type Act = (ctx: JobContext<z.output<typeof payload>>) => Promise<unknown>;

const large = (text: string) => ({ text, more: 'x'.repeat(1_100_000) });
const nested = (text: string) => JSON.stringify({ inner: JSON.stringify({ inner: text }) });
const acts: Readonly<Record<string, Act>> = {
  child: (ctx) => ctx.enqueue('test_plain', { note: { list: [1, `Bearer ${ctx.payload.token}`] } }),
  childKey: (ctx) => ctx.enqueue('test_plain', { [ctx.payload.token]: 1 }),
  childDate: ({ enqueue: child, payload: { token: text } }) =>
    child('test_plain', { note: { toJSON: () => text } }),
  childInJson: (ctx) => ctx.enqueue('test_plain', { note: nested(ctx.payload.token) }),
  dedupKey: (ctx) =>
    ctx.enqueue('test_plain', {}, { dedupKey: ctx.payload.token.replace('\n', ' ') }),
  group: (ctx) => ctx.enqueue('test_plain', {}, { group: ctx.payload.token.replace('\n', ' ') }),
  refusedGroup: (ctx) => ctx.enqueue('test_plain', {}, { group: ctx.payload.token }),
  largeResult: ({ payload: { token: text } }) => Promise.resolve(large(text)),
  largeOutcome: ({ payload: { token: text } }) => Promise.resolve(done(large(nested(text)))),
  largeCompletion: (ctx) =>
    ctx.sql.begin(() => Promise.resolve(large(ctx.payload.token)), { complete: true }),
  nestedResult: ({ payload: { token: text } }) => Promise.resolve({ text: nested(nested(text)) }),
};

const parent = defineHandler({
  type: 'test_parent',
  timeoutMs: 20_000,
  maxAttempts: 3,
  payload,
  run: async (ctx) => {
    if (ctx.payload.how === 'sealed') {
      return ctx.enqueue('test_parent', { token: ctx.payload.token, how: 'none' });
    }
    return acts[ctx.payload.how]?.(ctx);
  },
});
const plain = defineHandler({
  type: 'test_plain',
  timeoutMs: 20_000,
  maxAttempts: 1,
  payload: z.looseObject({}),
  run: async () => {},
});
const keys = { primary: { version: 1, key: 'a passphrase for tests', salt: generateSalt() } };
const keyring = new EncryptionKeyManager(keys);

let fleet: Fleet;
let tenantId: string;
beforeAll(async () => {
  fleet = await openFleet(undefined);
  await fleet.startWorker([parent, plain], {}, { keys });
  tenantId = await addTenant(fleet.database.system);
});
afterAll(() => fleet.close());

async function run(how: string, state: 'completed' | 'dead_letter') {
  const { system } = fleet.database;
  const request = { tenantId, payload: { token, how } };
  const { jobId } = await enqueue(system, parent, request, { keyring });
  await untilState(system, jobId, state);
  return jobRow(system, jobId);
}

async function expectNoCanary(): Promise<void> {
  const { system } = fleet.database;
  const rows = await system<{ text: string }[]>`
    select to_jsonb(j)::text as text from background_jobs j
    union all select to_jsonb(k)::text from job_keys k
    union all select to_jsonb(e)::text from job_events e`;
  for (const { text } of rows) expect(text).not.toMatch(/canary/);
}

it.each([
  ['child', '$."note"."list"[1]'],
  ['childKey', 'the name of a field'],
  ['childDate', '$."note"'],
  ['childInJson', '$."note"'],
  ['dedupKey', 'the dedup key'],
  ['group', 'the group'],
  ['refusedGroup', 'the group'],
])('a child job that would store the secret in plain text is refused: %s', async (how, place) => {
  const job = await run(how, 'dead_letter');
  expect(job.error).toMatchObject({
    code: 'secret_in_child_job',
    message: expect.stringContaining(
      `the child job test_plain would store a secret of this job in plain text (${place})`,
    ),
  });
  const [child] = await fleet.database.system`
    select count(*)::int as jobs from background_jobs where job_type = 'test_plain'`;
  expect(child).toEqual({ jobs: 0 });
  await expectNoCanary();
});

it('a child job with the secret in a secret field of its own is accepted, and stored encrypted', async () => {
  const job = await run('sealed', 'completed');
  const child: { jobId?: string } = { ...(job.result as object) };
  expect((await jobRow(fleet.database.system, child.jobId ?? '')).payload).toEqual({
    token: { $secret: expect.stringMatching(/^v2\.1\./) },
    how: 'none',
  });
  await expectNoCanary();
});

it.each(['largeResult', 'largeOutcome', 'largeCompletion'])(
  'a result that is too large is stored without its beginning: %s',
  async (how) => {
    const { result } = await run(how, 'completed');
    expect(result).toMatchObject({
      purser: 'result cut',
      reason: 'too large',
      limitBytes: 1_048_576,
    });
    expect(result).not.toHaveProperty('start');
    await expectNoCanary();
  },
);

it('a secret in JSON in JSON in a result is redacted', async () => {
  expect((await run('nestedResult', 'completed')).result).toEqual({
    text: expect.stringContaining('[redacted]'),
  });
  await expectNoCanary();
});
