/** `purser llm keys`: keys from stdin or a file, stored encrypted, and shown by their last four characters alone. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { loadConfig } from '../../../src/config.ts';
import { generateKey } from '../../../src/crypto/derive.ts';
import { openKeyring } from '../../../src/crypto/open-keyring.ts';
import { generateSalt } from '../../../src/crypto/salt.ts';
import { ownKeyContext } from '../../../src/llm/keys/own-key.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { invokeWith } from '../in-process.ts';
import type { Outcome } from '../in-process.ts';

const secret = 'sk-proj-0123456789abcdefWXYZ';
const hidden = secret.slice(0, -4);

let database: TestDatabase;
let folder: string;
let env: Record<string, string>;
let tenantId: string;
beforeAll(async () => {
  database = await freshDatabase();
  folder = await mkdtemp(join(tmpdir(), 'purser-own-keys-'));
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

function set(input: string | readonly Uint8Array[], ...more: string[]): Promise<Outcome> {
  const chunks = typeof input === 'string' ? [Buffer.from(input)] : input;
  return invokeWith(env, chunks)('llm', 'keys', 'set', tenantId, '--provider', 'openai', ...more);
}
const invoke = (...args: string[]): Promise<Outcome> => invokeWith(env)('llm', 'keys', ...args);

const storedRow = async (): Promise<Record<string, unknown> | undefined> =>
  (await database.sql`select * from llm_provider_keys where tenant_id = ${tenantId}`)[0];

it('stores a key encrypted for its tenant, replaces it, lists it without showing it, and removes it', async () => {
  expect(await set(`${secret}\n`, '--by', 'alice')).toEqual({
    code: 0,
    out: `own openai key of tenant ${tenantId} added, it ends in WXYZ; its calls are counted apart from the budget`,
    err: '',
  });
  const row = await storedRow();
  expect(row).toMatchObject({ last_four: 'WXYZ', encryption_key_version: 3, set_by: 'alice' });
  expect(JSON.stringify(row)).not.toContain(hidden);
  const keyring = await openKeyring(loadConfig(env));
  const token = String(row?.['api_key']);
  expect(await keyring.decryptString(token, ownKeyContext(tenantId))).toBe(secret);
  await expect(keyring.decryptString(token, ownKeyContext('other'))).rejects.toThrow('decrypt');

  const replacement = 'sk-proj-fedcba9876543210ABCD';
  const file = join(folder, 'key');
  await writeFile(file, `${replacement}\r\n`);
  const replaced = await set('', '--key-file', file, '--against-budget', '--json');
  expect(JSON.parse(replaced.out)).toMatchObject({
    outcome: 'replaced',
    lastFour: 'ABCD',
    countsAgainstBudget: true,
  });
  const listed = [await invoke('list'), await invoke('list', '--tenant', tenantId, '--json')];
  expect(listed[0]?.out).toMatch(/own:openai +ABCD +counts/);
  expect(JSON.parse(listed[1]?.out ?? '')).toMatchObject([{ tenantId, lastFour: 'ABCD' }]);
  const newToken = String((await storedRow())?.['api_key']);
  for (const { out, err } of [replaced, ...listed]) {
    expect(out + err).not.toContain(replacement.slice(0, -4));
    expect(out + err).not.toContain(newToken);
  }
  const remove = ['remove', tenantId, '--provider', 'openai'];
  expect(await invoke(...remove)).toMatchObject({
    code: 0,
    out: `own openai key of tenant ${tenantId} removed; its calls are made with the platform's key`,
  });
  expect(await storedRow()).toBeUndefined();
  expect(await invoke(...remove)).toMatchObject({
    code: 1,
    err: expect.stringContaining('has no own key of openai'),
  });
});

it.each([
  ['nothing', [], 'is empty; pipe it in, or use --key-file FILE'],
  ['only line ends', [Buffer.from('\r\n\n')], 'is empty'],
  ['bytes that are not UTF-8', [Buffer.from([0x61, 0xff])], 'is not UTF-8 text'],
  ['more than 4,096 bytes', [Buffer.alloc(4_097, 'x')], 'is larger than 4096 bytes'],
  ['a line break inside', [Buffer.from(`${hidden}\n${hidden}`)], 'no HTTP header may carry'],
  ['a blank inside', [Buffer.from(`Bearer ${hidden}`)], 'no HTTP header may carry'],
  ['a letter beyond ASCII', [Buffer.from(`${hidden}é`)], 'no HTTP header may carry'],
  ['a key that is too short', [Buffer.from('sk-1')], 'has 4 characters'],
  ['a key that is too long', [Buffer.alloc(1_001, 'x')], 'has 1001 characters'],
])('refuses %s, stores nothing and repeats nothing', async (_name, input, says) => {
  const { code, out, err } = await set(input);
  expect([code, err]).toEqual([1, expect.stringContaining(says)]);
  expect(out + err).not.toContain(hidden);
  expect(await storedRow()).toBeUndefined();
});

it('refuses an unknown tenant, provider or option, and a key on the command line', async () => {
  const wrong = (...args: string[]) =>
    invokeWith(env, [Buffer.from(secret)])('llm', 'keys', 'set', ...args);
  expect(await wrong('nobody', '--provider', 'openai')).toMatchObject({
    code: 1,
    err: expect.stringContaining('there is no tenant "nobody"'),
  });
  expect(await wrong(tenantId, '--provider', 'groq')).toMatchObject({
    code: 64,
    err: expect.stringContaining('--provider must be one of openai, anthropic, google'),
  });
  expect(await wrong(tenantId, 'sk-on-argv', '--provider', 'openai')).toMatchObject({
    code: 64,
    err: expect.stringContaining('unexpected argument'),
  });
  expect(await wrong('--provider', 'openai')).toMatchObject({
    code: 64,
    err: expect.stringContaining('TENANT is missing'),
  });
  const withoutKey = invokeWith({ DATABASE_URL: env['DATABASE_URL'] }, [Buffer.from(secret)]);
  expect(await withoutKey('llm', 'keys', 'set', tenantId, '--provider', 'openai')).toMatchObject({
    code: 78,
    err: expect.stringContaining('ENCRYPTION_KEY is not set'),
  });
  expect(await invoke('list', '--tenant', 'nobody')).toMatchObject({ code: 1 });
  expect(await storedRow()).toBeUndefined();
});
