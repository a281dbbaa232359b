/** Credentials of cloud accounts: read from stdin or a file, stored encrypted, never printed. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { openKeyring } from '../../../src/crypto/open-keyring.ts';
import { loadConfig } from '../../../src/config.ts';
import { generateKey } from '../../../src/crypto/derive.ts';
import { generateSalt } from '../../../src/crypto/salt.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { invokeWith } from '../in-process.ts';
import type { Outcome } from '../in-process.ts';

const secret = '{"accessKeyId":"AKIAEXAMPLE","secretAccessKey":"wJalr+EXAMPLE/key"}';
const account = ['--account-id', '123456789012'];
const context = { column: 'aws_accounts.credentials', purpose: 'api_key' } as const;

let database: TestDatabase;
let folder: string;
let env: Record<string, string>;
let tenantId: string;
beforeAll(async () => {
  database = await freshDatabase();
  folder = await mkdtemp(join(tmpdir(), 'purser-accounts-'));
  env = {
    DATABASE_URL: database.url,
    ENCRYPTION_KEY: generateKey(),
    KDF_SALT: generateSalt(),
    ENCRYPTION_KEY_VERSION: '3',
  };
});
beforeEach(async () => {
  tenantId = await addTenant(database.sql);
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  await database.close();
});

function add(input: string | readonly Uint8Array[], ...more: string[]): Promise<Outcome> {
  const chunks = typeof input === 'string' ? [Buffer.from(input)] : input;
  return invokeWith(env, chunks)('accounts', 'add', '--tenant', tenantId, ...account, ...more);
}

async function storedRow(): Promise<Record<string, unknown> | undefined> {
  const [row] = await database.sql`select * from aws_accounts where tenant_id = ${tenantId}`;
  return row;
}

it('stores only ciphertext, which can be decrypted for this tenant and column alone', async () => {
  const added = await add(`${secret}\n`, '--name', 'Production');
  expect(added).toEqual({
    code: 0,
    out: `account 123456789012 of tenant ${tenantId} added, key version 3`,
    err: '',
  });
  const row = await storedRow();
  expect(row).toMatchObject({
    account_id: '123456789012',
    name: 'Production',
    encryption_key_version: 3,
  });
  expect(JSON.stringify(row)).not.toMatch(/AKIAEXAMPLE|wJalr/);
  const keyring = await openKeyring(loadConfig(env));
  const ciphertext = String(row?.['credentials']);
  expect(await keyring.decryptString(ciphertext, { tenantId, ...context })).toBe(secret);
  for (const elsewhere of [
    { ...context, tenantId: await addTenant(database.sql) },
    { ...context, tenantId, column: 'api_integrations.credentials' as const },
  ]) {
    await expect(keyring.decryptString(ciphertext, elsewhere)).rejects.toMatchObject({
      code: 'decryption_failed',
    });
  }
});

it('reads a named file; the error of a missing file names the option', async () => {
  const path = join(folder, 'credentials.json');
  await writeFile(path, secret);
  expect(await add('', '--credentials-file', path)).toMatchObject({ code: 0 });
  expect(await add('', '--credentials-file', join(folder, 'missing'))).toMatchObject({
    code: 1,
    err: expect.stringContaining('--credentials-file'),
  });
});

it('lists accounts with their key version and never their credentials', async () => {
  await add(secret);
  const row = await storedRow();
  const invoke = invokeWith(env);
  const table = await invoke('accounts', 'list', '--tenant', tenantId);
  expect(table.out).toMatch(/key version[^]*123456789012/);
  const listed = await invoke('accounts', 'list', '--json');
  expect(JSON.parse(listed.out)).toContainEqual({
    tenantId,
    accountId: '123456789012',
    name: null,
    keyVersion: 3,
    createdAt: expect.any(String),
  });
  for (const shown of [table, listed]) {
    expect(shown.out + shown.err).not.toMatch(/AKIAEXAMPLE|wJalr/);
    expect(shown.out).not.toContain(String(row?.['credentials']));
  }
});

it('refuses an account that exists, and accepts it again after it was removed', async () => {
  await add(secret);
  const before = await storedRow();
  expect(await add('other')).toMatchObject({
    code: 1,
    err: expect.stringContaining('already has account 123456789012'),
  });
  expect(await storedRow()).toEqual(before);
  const remove = ['accounts', 'remove', '--tenant', tenantId, ...account];
  const invoke = invokeWith(env);
  expect(await invoke(...remove)).toMatchObject({ code: 0 });
  expect(await storedRow()).toBeUndefined();
  expect(await invoke(...remove)).toMatchObject({
    code: 1,
    err: expect.stringContaining('has no account 123456789012'),
  });
  expect(await add('other')).toMatchObject({ code: 0 });
});

it('refuses an unknown tenant by name', async () => {
  tenantId = 'nobody';
  expect(await add(secret)).toMatchObject({ code: 1, err: 'there is no tenant "nobody"' });
  const listed = await invokeWith(env)('accounts', 'list', '--tenant', 'nobody');
  expect(listed).toMatchObject({ code: 1, err: 'there is no tenant "nobody"' });
});

it.each([
  ['nothing', [], 'from stdin) are empty; pipe them in'],
  ['only line ends', [Buffer.from(' \r\n\n')], 'are empty'],
  ['bytes that are not UTF-8', [Buffer.from([0x61, 0xff])], 'are not UTF-8 text'],
  ['more than 65,536 bytes', [Buffer.alloc(65_537, 'x')], 'larger than 65536 bytes'],
])('refuses %s from stdin and stores nothing', async (_name, input, says) => {
  expect(await add(input)).toMatchObject({ code: 1, err: expect.stringContaining(says) });
  expect(await storedRow()).toBeUndefined();
});

it('stops reading an endless input', async () => {
  let chunks = 0;
  function* endless() {
    for (;;) {
      chunks += 1;
      yield Buffer.alloc(16_384, 'x');
    }
  }
  const run = invokeWith(env, endless());
  const { err } = await run('accounts', 'add', '--tenant', tenantId, ...account);
  expect(err).toContain('larger than 65536 bytes');
  expect(chunks).toBeLessThan(50);
});

it.each([
  [['--account-id', '12345'], 'must be the 12 digits of an AWS account'],
  [[...account, '--name', 'a\nb'], '--name: the account name "a\\nb" has a control character'],
  [[...account, 'AKIA'], 'unexpected argument'],
])('refuses %j as wrong usage', async (args, says) => {
  const invoke = invokeWith(env, [Buffer.from(secret)]);
  const { code, err } = await invoke('accounts', 'add', '--tenant', tenantId, ...args);
  expect([code, err]).toEqual([64, expect.stringContaining(says)]);
});

it('without ENCRYPTION_KEY exits 78 and says what to set', async () => {
  const { DATABASE_URL } = env;
  const run = invokeWith({ DATABASE_URL }, [Buffer.from(secret)]);
  const outcome = await run('accounts', 'add', '--tenant', tenantId, ...account);
  expect(outcome).toMatchObject({ code: 78, err: expect.stringContaining('keys generate-key') });
  expect(outcome.err).toContain('ENCRYPTION_KEY is not set');
});

it('generates a salt in the data folder in development, and requires one in staging', async () => {
  const { KDF_SALT: _, ...unsalted } = env;
  const PURSER_DATA_DIR = join(folder, 'data');
  const run = invokeWith({ ...unsalted, PURSER_DATA_DIR }, [Buffer.from(secret)]);
  expect(await run('accounts', 'add', '--tenant', tenantId, ...account)).toMatchObject({ code: 0 });
  const saltFile = join(PURSER_DATA_DIR, 'kdf-salt');
  expect((await readFile(saltFile, 'utf8')).trim()).toHaveLength(44);
  expect((await stat(saltFile)).mode & 0o777).toBe(0o600);
  const keyring = await openKeyring(loadConfig({ ...unsalted, PURSER_DATA_DIR }));
  const ciphertext = String((await storedRow())?.['credentials']);
  expect(await keyring.decryptString(ciphertext, { tenantId, ...context })).toBe(secret);
  const staging = invokeWith({ ...unsalted, ENVIRONMENT: 'staging' });
  expect(await staging('accounts', 'add', '--tenant', tenantId, ...account)).toMatchObject({
    code: 78,
    err: expect.stringContaining('KDF_SALT'),
  });
});

it('reads a pipe as a process, and logs no secret at level trace', async () => {
  const args = ['accounts', 'add', '--tenant', tenantId, ...account];
  const child = spawn(process.execPath, ['dist/cli/main.js', ...args], {
    env: { PATH: process.env['PATH'], ...env, LOG_LEVEL: 'trace' },
  });
  child.stdin.end(secret);
  const said = Promise.all([text(child.stdout), text(child.stderr)]);
  const [code] = await once(child, 'exit');
  const [out, err] = await said;
  expect([code, err]).toEqual([0, expect.any(String)]);
  expect(out).toContain('added, key version 3');
  expect(out + err).not.toMatch(/AKIAEXAMPLE|wJalr/);
  expect(await storedRow()).toBeDefined();
});
