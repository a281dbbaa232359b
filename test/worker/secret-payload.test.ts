/** Secret payload fields: enqueued through every entry point, stored sealed, opened only for the handler. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { EncryptionKeyManager } from '../../src/crypto/keyring.ts';
import { generateSalt } from '../../src/crypto/salt.ts';
import { enqueue, enqueueMany } from '../../src/handlers/client.ts';
import { defineHandler } from '../../src/handlers/define.ts';
import { secret } from '../../src/handlers/secret.ts';
import { replayDeadLetter } from '../../src/jobs/dead-letters.ts';
import { findJob } from '../../src/jobs/inspect.ts';
import { jobRow, untilState } from '../jobs/job-steps.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from './fleet.ts';
import type { Fleet } from './fleet.ts';

const payload = z.object({
  hook: z.object({ url: z.string(), token: secret(z.string().min(3)) }),
  keys: z.array(secret(z.object({ id: z.string(), key: z.string() }))).default([]),
  how: z.enum(['return', 'throw', 'say', 'child']).default('return'),
});
const own = { type: 'test_hook', timeoutMs: 20_000, maxAttempts: 1, payload };
const hook = defineHandler({
  ...own,
  run: async (ctx) => {
    const { hook: found, keys, how } = ctx.payload;
    if (how === 'throw') throw new Error(`refused: token=${found.token} key=${keys[0]?.key}`);
    if (how === 'say') {
      ctx.progress(0.5, `with ${found.token}`);
      ctx.log.info({ got: found.token, keys }, `using ${found.token}`);
    }
    if (how === 'child') {
      const child = await ctx.enqueue('test_hook', { hook: found, keys });
      return child.jobId;
    }
    return { token: found.token, length: found.token.length, keys };
  },
});
const keys = { primary: { version: 1, key: 'a passphrase for tests', salt: generateSalt() } };
const keyring = new EncryptionKeyManager(keys);
const token = 'canary-token/ž"1';
const given = (how: z.output<typeof payload>['how'] = 'return') => ({
  hook: { url: 'https://example.org', token },
  keys: [{ id: 'one', key: 'canary-key-2' }],
  how,
});

let fleet: Fleet;
let tenantId: string;
beforeAll(async () => {
  fleet = await openFleet(undefined);
  await fleet.startWorker([hook], {}, { keys });
  tenantId = await addTenant(fleet.database.system);
});
afterAll(() => fleet.close());

async function whole(jobId: string): Promise<string> {
  const { system } = fleet.database;
  const rows = await system<{ text: string }[]>`
    select j::text as text from background_jobs j where id = ${jobId}
    union all select e::text from job_events e where job_id = ${jobId}
    union all select l::text from job_log_lines l where job_id = ${jobId}`;
  const record = await findJob(system, jobId);
  return `${rows.map(({ text }) => text).join('\n')}\n${JSON.stringify(record)}`;
}

it('the client stores them sealed, the handler gets them open, and what it returns is stored without them', async () => {
  const { system } = fleet.database;
  const { jobId } = await enqueue(system, hook, { tenantId, payload: given() }, { keyring });
  await untilState(system, jobId, 'completed');
  const job = await jobRow(system, jobId);
  expect(job.payload).toEqual({
    hook: { url: 'https://example.org', token: { $secret: expect.stringMatching(/^v2\.1\./) } },
    keys: [{ $secret: expect.stringMatching(/^v2\.1\./) }],
    how: 'return',
  });
  expect(job.result).toEqual({
    token: '[redacted]',
    length: token.length,
    keys: [{ id: 'one', key: '[redacted]' }],
  });
  const record = await findJob(system, jobId);
  expect(record?.payload).toEqual({
    hook: { url: 'https://example.org', token: '[secret]' },
    keys: ['[secret]'],
    how: 'return',
  });
});

it.each(['throw', 'say', 'child'] as const)(
  'nothing of them is left in the tables by a handler that would %s them',
  async (how) => {
    const { system } = fleet.database;
    const { jobId } = await enqueue(system, hook, { tenantId, payload: given(how) }, { keyring });
    await untilState(system, jobId, how === 'throw' ? 'dead_letter' : 'completed');
    const ids = await system<{ id: string }[]>`select id from background_jobs where id >= ${jobId}`;
    for (const { id } of ids)
      await untilState(system, id, how === 'throw' ? 'dead_letter' : 'completed');
    const texts = await Promise.all(ids.map(({ id }) => whole(id)));
    expect(texts).toHaveLength(how === 'child' ? 2 : 1);
    for (const text of texts) expect(text).not.toMatch(/canary/);
  },
);

it('a dead letter that is replayed opens again', async () => {
  const { system } = fleet.database;
  const { jobId } = await enqueue(system, hook, { tenantId, payload: given('throw') }, { keyring });
  await untilState(system, jobId, 'dead_letter');
  const again = await replayDeadLetter(system, jobId, { operator: 'test', source: 'test' });
  await untilState(system, again.jobId, 'dead_letter');
  expect((await jobRow(system, again.jobId)).error).toMatchObject({
    code: 'error',
    message: 'refused: token=[redacted] key=[redacted]',
  });
});

it('in plain text they are refused at every entry point, by path and without their value', async () => {
  const { system } = fleet.database;
  const request = { tenantId, payload: given() };
  await expect(enqueue(system, hook, request)).rejects.toMatchObject({
    code: 'encryption_key_missing',
  });
  const text = JSON.stringify(given());
  const entryPoints = [
    () => enqueue(system, 'test_hook', request),
    () => enqueueMany(system, 'test_hook', [request]),
    () => system`select purser.enqueue(${tenantId}, 'test_hook', ${text}::text::jsonb)`,
    () =>
      system`update background_jobs set payload = ${text}::text::jsonb where job_type = 'test_hook'`,
  ];
  for (const enqueueIt of entryPoints) {
    const refusal: unknown = await enqueueIt().then(
      () => 'it was taken',
      (error: unknown) => error,
    );
    expect(String(refusal)).toMatch(/invalid_payload|payload of test_hook/);
    expect(JSON.stringify(refusal) + String(refusal)).not.toContain('canary');
  }
});

it('secret fields of a type given by name are read from the database, for one job and for many', async () => {
  const { system } = fleet.database;
  const request = { tenantId, payload: given() };
  const one = await enqueue(system, 'test_hook', request, { keyring });
  const many = await enqueueMany(system, 'test_hook', [request, request], { keyring });
  for (const { jobId } of [one, ...many]) {
    await untilState(system, jobId, 'completed');
    expect((await jobRow(system, jobId)).result).toMatchObject({ length: token.length });
  }
});

it('a field that is sealed under an unknown key fails its own job, is counted, and reveals nothing', async () => {
  const { system } = fleet.database;
  const failed = async (): Promise<number> =>
    (await fleet.metrics.decryptionFailed.get()).values[0]?.value ?? 0;
  const before = await failed();
  const stranger = new EncryptionKeyManager({
    primary: { ...keys.primary, key: 'nobody has this key' },
  });
  const { jobId } = await enqueue(
    system,
    hook,
    { tenantId, payload: given() },
    { keyring: stranger },
  );
  await untilState(system, jobId, 'dead_letter');
  expect((await jobRow(system, jobId)).error).toMatchObject({ code: 'decryption_failed' });
  expect(await whole(jobId)).not.toContain('canary');
  expect(await failed()).toBe(before + 1);
});

it('a field that is a secret or a record of secrets takes both', async () => {
  const { system } = fleet.database;
  const either = defineHandler({
    ...own,
    type: 'test_either',
    payload: z.object({
      a: z.union([secret(z.string()), z.record(z.string(), secret(z.string()))]),
    }),
    run: ({ payload: { a } }) => Promise.resolve(typeof a === 'string' ? 1 : Object.keys(a).length),
  });
  const worker = await fleet.startWorker([either], {}, { keys });
  for (const [a, count] of [
    ['one', 1],
    [{ b: 'two', c: 'three' }, 2],
  ] as const) {
    const { jobId } = await enqueue(system, either, { tenantId, payload: { a } }, { keyring });
    await untilState(system, jobId, 'completed');
    expect((await jobRow(system, jobId)).result).toBe(count);
  }
  await worker.stop();
});
