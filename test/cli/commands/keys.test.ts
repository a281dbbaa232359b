import { afterAll, beforeAll, expect, it } from 'vitest';
import { EncryptionKeyManager } from '../../../src/crypto/keyring.ts';
import { generateSalt } from '../../../src/crypto/salt.ts';
import { writeHeartbeat } from '../../../src/db/heartbeats.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { invokeWith } from '../in-process.ts';

const salt = generateSalt();
const first = { version: 1, key: 'the first passphrase' };
const second = { version: 2, key: 'the second passphrase' };
const old = new EncryptionKeyManager({ primary: { ...first, salt } });
const both = new EncryptionKeyManager({ primary: { ...second, salt }, legacy: [first] });

let database: TestDatabase;
let tenantId: string;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  database = await freshDatabase();
  tenantId = await addTenant(database.sql);
  env = {
    DATABASE_URL: database.url,
    KDF_SALT: salt,
    ENCRYPTION_KEY: second.key,
    ENCRYPTION_KEY_VERSION: '2',
    LEGACY_ENCRYPTION_KEYS: JSON.stringify([first]),
  };
  const place = { tenantId, column: 'aws_accounts.credentials', purpose: 'api_key' } as const;
  const { ciphertext } = await old.encryptString('old', place);
  await database.sql`
    insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
    values (${tenantId}, '000000000001', ${ciphertext}, 1)`;
});
afterAll(() => database.close());

const beat = async (processId: string, keyring: EncryptionKeyManager) =>
  writeHeartbeat(database.sql, {
    processId,
    role: 'worker',
    version: 'test',
    hostname: 'test',
    pid: 1,
    jobTypes: [],
    typeSlots: [],
    slots: 0,
    running: 0,
    progressedAt: new Date(),
    metrics: [],
    knownKeys: await keyring.marks(),
    primaryVersion: keyring.primaryVersion,
  });

it('accounts are encrypted with the new key, and rotation starts, only once every process has it', async () => {
  await beat('worker-old', old);
  const add = invokeWith(env, [Buffer.from('credentials')]);
  const added = await add('accounts', 'add', '--tenant', tenantId, '--account-id', '000000000002');
  expect(added.out).toContain('key version 1');

  const run = invokeWith(env);
  const status = await run('keys', 'status');
  expect(status.out).toMatch(/^1 +2 +all 1 +needed: purser keys rotate$/m);
  expect(status.out).toMatch(/^2 +0 +all but worker-old +writes once every process has it$/m);
  expect(await run('keys', 'rotate')).toMatchObject({
    code: 1,
    err: expect.stringContaining('these processes do not have key version 2: worker-old'),
  });
  const jobs = await database.sql`select from background_jobs where job_type = 'key_rotation'`;
  expect(jobs).toHaveLength(0);
});

it('rotation enqueues one recorded job per table, and a second call adds none', async () => {
  await beat('worker-old', both);
  const run = invokeWith(env);
  const rotate = () => run('keys', 'rotate', '--by', 'alice', '--json');
  const started = { toVersion: 2, jobs: 1, values: 2 };
  expect(JSON.parse((await rotate()).out)).toEqual({ ...started, underWay: 0 });
  expect(JSON.parse((await rotate()).out)).toEqual({ ...started, underWay: 1 });
  const jobs = await database.sql`
    select tenant_id, payload, state_detail from background_jobs where job_type = 'key_rotation'`;
  expect([...jobs]).toEqual([
    {
      tenant_id: tenantId,
      payload: { place: 'aws_accounts.credentials', toVersion: 2 },
      state_detail: { by: 'alice' },
    },
  ]);
});

it('an old key is removable when no value needs it and no process writes with it', async () => {
  await database.sql`update aws_accounts set encryption_key_version = 2`;
  const status = async (): Promise<unknown> => {
    const { out } = await invokeWith(env)('keys', 'status', '--json');
    const report: { keys: { version: number }[] } = JSON.parse(out);
    return report.keys.find(({ version }) => version === 1);
  };
  const writesOld = new EncryptionKeyManager({ primary: { ...first, salt }, legacy: [second] });
  await beat('worker-old', writesOld);
  expect(await status()).toMatchObject({ values: 0, primaryOf: 1, removable: false });
  await beat('worker-old', both);
  expect(await status()).toMatchObject({ values: 0, primaryOf: 0, removable: true });

  // The fleet writes with the only key that all processes have.
  const third = { version: 3, key: 'the third passphrase' };
  await beat(
    'worker-new',
    new EncryptionKeyManager({ primary: { ...third, salt }, legacy: [first] }),
  );
  expect(await status()).toMatchObject({ values: 0, primaryOf: 0, removable: false });
  await database.sql`delete from heartbeats where process_id = 'worker-new'`;

  await database.sql.unsafe(`
    create table public.notes (id int primary key, tenant_id text, body text, encryption_key_version int);
    insert into public.notes values (1, '${tenantId}', 'v2.1.AAAA', null);
    select purser.encrypt_column('public.notes', 'body')`);
  expect(await status()).toMatchObject({ values: 0, primaryOf: 0, removable: false });
  const { out } = await invokeWith(env)('keys', 'status');
  expect(out).toMatch(/^1 +0 .*needed: rows without a key version may need it/m);
  expect(out).toMatch(/^notes\.body +- +1$/m);
});

it('status without keys names the variable to set', async () => {
  const { ENCRYPTION_KEY: _, ...without } = env;
  expect(await invokeWith(without)('keys', 'status')).toMatchObject({
    code: 78,
    err: expect.stringContaining('ENCRYPTION_KEY is not set'),
  });
});
