/** An edited payload replays its dead letter, once, after its handler's schema took it; no value of it is on record. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { EncryptionKeyManager } from '../../../src/crypto/keyring.ts';
import { generateSalt } from '../../../src/crypto/salt.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { defineHandler } from '../../../src/handlers/define.ts';
import { editedPayloads } from '../../../src/handlers/edited-payload.ts';
import { toJobType } from '../../../src/handlers/job-types.ts';
import { payloadSealer } from '../../../src/handlers/seal.ts';
import { secret } from '../../../src/handlers/secret.ts';
import { registerJobTypes } from '../../../src/jobs/registration.ts';
import { openFields } from '../../../src/crypto/secrets/fields.ts';
import { listActs } from '../../../src/operations/audit.ts';
import { editPayload } from '../../../src/operations/batches/edit-payload.ts';
import { replayAs } from '../../../src/operations/dead-letters.ts';
import { fatal } from '../../jobs/failures/ends.ts';
import { addJob, begin, claim, finish, jobRow, step } from '../../jobs/job-steps.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { alice } from './batch-database.ts';

const handler = defineHandler({
  type: step,
  timeoutMs: 1_000,
  maxAttempts: 1,
  payload: z.object({
    email: z.email(),
    days: z.number().int().optional(),
    key: secret(z.string()),
  }),
  run: () => Promise.resolve(),
});
const keyring = new EncryptionKeyManager({
  primary: { version: 1, key: 'the first passphrase', salt: generateSalt() },
});

let test: TestDatabase;
let sql: Sql;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  sql = test.sql;
  await registerJobTypes(sql, [toJobType(handler)]);
  tenantId = await addTenant(sql);
});
afterAll(() => test.close());

const schemaOf = (type: string) =>
  editedPayloads(
    sql,
    (asked) => (asked === step ? handler : undefined),
    () => keyring,
  )(type);

async function letter(): Promise<string> {
  const plain = { email: 'canary@example.org', key: 'canary-secret' };
  const seal = payloadSealer(sql, () => keyring);
  const payload = await seal({ tenantId, jobType: step }, plain, handler.secretPaths);
  const jobId = await addJob(sql, tenantId, { payload });
  const job = (await claim(sql)).find((one) => one.jobId === jobId);
  if (job === undefined) throw new Error('the job was not claimed');
  await finish(sql, await begin(sql, job), fatal('boom', 'it broke'));
  return jobId;
}

const edit = (jobId: string, payload: unknown) =>
  editPayload(sql, alice, { jobId, payload, reason: 'fixed the address', schemaOf });

const opened = async (jobId: string): Promise<unknown> =>
  openFields(
    (await jobRow(sql, jobId)).payload,
    handler.secretPaths,
    { tenantId, jobType: step },
    () => keyring,
  );

it('replays with the new payload; a secret that is shown as [secret] keeps its value', async () => {
  const jobId = await letter();
  const { jobId: newId, changedFields } = await edit(jobId, {
    key: '[secret]',
    email: 'new@example.org',
  });
  expect(changedFields).toEqual(['email']);
  expect(await opened(newId)).toEqual({ email: 'new@example.org', key: 'canary-secret' });
  expect(await opened(jobId)).toEqual({ email: 'canary@example.org', key: 'canary-secret' });
  expect(await jobRow(sql, newId)).toMatchObject({
    state: 'pending',
    state_detail: { replay_of: jobId, by: 'alice', source: 'cli', edited: true },
  });
  const [act] = await listActs(sql, { jobId, limit: 1 });
  expect(act).toMatchObject({
    act: 'replay_edited',
    tenantId,
    jobType: step,
    reason: 'fixed the address',
    jobIds: [jobId, newId],
    after: { replayedBy: newId, changedFields: ['email'] },
  });
  expect(JSON.stringify(act)).not.toMatch(/canary|new@example/);
  await expect(edit(jobId, { key: '[secret]', email: 'third@example.org' })).rejects.toThrow(
    `dead letter ${jobId} was already replayed, by job ${newId}`,
  );
});

it('stores a new secret encrypted', async () => {
  const jobId = await letter();
  const edited = await edit(jobId, { key: 'another', email: 'canary@example.org' });
  expect(edited.changedFields).toEqual(['key']);
  expect(JSON.stringify((await jobRow(sql, edited.jobId)).payload)).not.toContain('another');
  expect(await opened(edited.jobId)).toMatchObject({ key: 'another' });
});

it('refuses what the schema does not take, what is no object, and what changes nothing', async () => {
  const jobId = await letter();
  const same = { key: '[secret]', email: 'canary@example.org' };
  for (const [payload, code] of [
    [{ ...same, email: 'nobody' }, 'invalid_payload'],
    [{ ...same, days: '3' }, 'invalid_payload'],
    [{ email: 'new@example.org' }, 'invalid_payload'],
    [[same], 'invalid_payload'],
    ['text', 'invalid_payload'],
    [null, 'invalid_payload'],
    [{ ...same, email: 'a\0@example.org' }, 'invalid_payload'],
    [{ ...same, note: 'a'.repeat(1_100_000) }, 'payload_too_large'],
    [same, 'payload_unchanged'],
  ] as const) {
    await expect(edit(jobId, payload)).rejects.toMatchObject({ code });
  }
  await expect(edit(jobId, { ...same, email: 'nobody' })).rejects.toThrow('email');
  const other = { jobId, payload: same, reason: 'x', schemaOf: () => Promise.resolve(undefined) };
  await expect(editPayload(sql, alice, other)).rejects.toMatchObject({
    code: 'unknown_payload_schema',
  });
  await expect(edit('999999', same)).rejects.toThrow(
    'job 999999 is not a dead letter: there is no',
  );
  const waiting = await addJob(sql, tenantId, {
    payload: (await jobRow(sql, jobId)).payload as object,
  });
  await expect(edit(waiting, same)).rejects.toThrow('it is pending');
  expect((await replayAs(sql, alice, { jobId })).created).toBe(true);
});

it('two edits at once make one replay', async () => {
  const jobId = await letter();
  const edits = ['one', 'two'].map((name) =>
    edit(jobId, { key: '[secret]', email: `${name}@example.org` }),
  );
  const answers = await Promise.allSettled(edits);
  expect(answers.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
  const replays = await sql`select from jobs where replay_of = ${jobId}`;
  expect(replays).toHaveLength(1);
});
