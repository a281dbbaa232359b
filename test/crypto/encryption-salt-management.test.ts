import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EncryptionContext } from '../../src/crypto/context.ts';
import { KDF_ITERATIONS, KDF_ITERATIONS_MINIMUM } from '../../src/crypto/derive.ts';
import { EncryptionKeyManager } from '../../src/crypto/keyring.ts';
import { KDF_SALT_LENGTH, SALT_FILE_NAME } from '../../src/crypto/salt.ts';

const sourceRoot = fileURLToPath(new URL('../../src/', import.meta.url));
const context: EncryptionContext = {
  tenantId: 'tenant-a',
  column: 'aws_accounts.credentials',
  purpose: 'api_key',
};
const passphrase = 'a passphrase for tests only';

function managerWith(options: {
  salt: string;
  key?: string;
  version?: number;
  legacy?: { version: number; key: string; salt?: string; iterations?: number }[];
}): EncryptionKeyManager {
  const { salt, key = passphrase, version = 1, legacy = [] } = options;
  const iterations = KDF_ITERATIONS_MINIMUM;
  return new EncryptionKeyManager({ primary: { version, key, salt, iterations }, legacy });
}

function keyOf(salt: string): Promise<Buffer> {
  return EncryptionKeyManager.deriveKey(
    passphrase,
    Buffer.from(salt, 'base64'),
    KDF_ITERATIONS_MINIMUM,
  );
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'purser-salt-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

test('test_salt_generation_is_random: every salt is 32 bytes, 44 characters, and no two are equal', () => {
  const salts = Array.from({ length: 1000 }, () => EncryptionKeyManager.generateSalt());
  expect(new Set(salts).size).toBe(1000);
  for (const salt of salts) {
    expect(salt).toMatch(/^[A-Za-z0-9+/]{43}=$/);
    expect(Buffer.from(salt, 'base64')).toHaveLength(KDF_SALT_LENGTH);
  }
});

describe('test_salt_is_never_hardcoded', () => {
  test('test_salt_is_never_hardcoded: no source file holds a literal of 32 bytes in base64 or hex', async () => {
    const names = await readdir(sourceRoot, { recursive: true });
    const sources = names.filter((name) => /\.tsx?$/.test(name));
    expect(sources.length).toBeGreaterThan(10);
    for (const name of sources) {
      const text = await readFile(join(sourceRoot, name), 'utf8');
      const literals = text.match(/['"`](?:[A-Za-z0-9+/_-]{43}=|[0-9a-fA-F]{64})['"`]/g);
      expect({ name, literals }).toEqual({ name, literals: null });
    }
  });

  test.each(['production', 'staging'] as const)(
    'test_salt_is_never_hardcoded: %s without a salt is a start-up error with exit code 78',
    async (environment) => {
      for (const kdfSalt of [undefined, '']) {
        const attempt = EncryptionKeyManager.getOrCreateSalt({
          environment,
          kdfSalt,
          dataDir: join(folder, environment),
        });
        await expect(attempt).rejects.toMatchObject({ code: 'kdf_salt_missing', exitCode: 78 });
      }
      await expect(stat(join(folder, environment))).rejects.toMatchObject({ code: 'ENOENT' });
    },
  );

  test('test_salt_is_never_hardcoded: two development folders get two salts', async () => {
    const [first, second] = await Promise.all(
      ['one', 'two'].map((name) =>
        EncryptionKeyManager.getOrCreateSalt({
          environment: 'development',
          dataDir: join(folder, name),
        }),
      ),
    );
    expect(first).not.toBe(second);
  });
});

test('test_encrypt_decrypt_roundtrip: decryption returns the encrypted text, and no two tokens are equal', async () => {
  const manager = managerWith({ salt: EncryptionKeyManager.generateSalt() });
  const first = await manager.encryptString('AKIA-not-a-real-key', context);
  const second = await manager.encryptString('AKIA-not-a-real-key', context);
  expect(first.ciphertext).not.toBe(second.ciphertext);
  expect(first.ciphertext).not.toContain('AKIA');
  expect(first.keyVersion).toBe(1);
  expect(await manager.decryptString(first.ciphertext, context)).toBe('AKIA-not-a-real-key');
  expect(await manager.decryptString(second.ciphertext, context)).toBe('AKIA-not-a-real-key');
});

test('test_decrypt_with_legacy_key: after a change of key the old one decrypts and the new one encrypts', async () => {
  const oldSalt = EncryptionKeyManager.generateSalt();
  const before = managerWith({ salt: oldSalt });
  const { ciphertext } = await before.encryptString('secret', context);

  const newKey = {
    salt: EncryptionKeyManager.generateSalt(),
    key: 'another passphrase',
    version: 2,
  };
  const oldKey = {
    version: 1,
    key: passphrase,
    salt: oldSalt,
    iterations: KDF_ITERATIONS_MINIMUM,
  };
  const after = managerWith({ ...newKey, legacy: [oldKey] });
  expect(await after.decryptString(ciphertext, context)).toBe('secret');

  const rewritten = await after.encryptString('secret', context);
  expect(rewritten.keyVersion).toBe(2);
  const withoutOld = managerWith(newKey);
  expect(await withoutOld.decryptString(rewritten.ciphertext, context)).toBe('secret');
  await expect(withoutOld.decryptString(ciphertext, context)).rejects.toMatchObject({
    code: 'decryption_failed',
  });
});

test('test_different_salt_produces_different_key: and a token of one salt cannot be decrypted under another', async () => {
  const [saltA, saltB] = [EncryptionKeyManager.generateSalt(), EncryptionKeyManager.generateSalt()];
  const [keyA, keyAAgain, keyB] = await Promise.all([keyOf(saltA), keyOf(saltA), keyOf(saltB)]);
  expect(keyA).toHaveLength(32);
  expect(keyAAgain.equals(keyA)).toBe(true);
  expect(keyB.equals(keyA)).toBe(false);

  const { ciphertext } = await managerWith({ salt: saltA }).encryptString('secret', context);
  await expect(
    managerWith({ salt: saltB }).decryptString(ciphertext, context),
  ).rejects.toMatchObject({ code: 'decryption_failed' });
});

test('test_kdf_iterations_exceeds_minimum: 600,000 by default, and fewer than 100,000 are refused', async () => {
  expect(KDF_ITERATIONS).toBe(600_000);
  expect(KDF_ITERATIONS_MINIMUM).toBe(100_000);
  const salt = Buffer.alloc(32, 7);
  const byDefault = await EncryptionKeyManager.deriveKey(passphrase, salt);
  expect(byDefault).toEqual(await EncryptionKeyManager.deriveKey(passphrase, salt, 600_000));
  for (const iterations of [0, 1, 99_999, -600_000, 600_000.5, Number.NaN, 2 ** 31]) {
    const refused = EncryptionKeyManager.deriveKey(passphrase, salt, iterations);
    await expect(refused).rejects.toMatchObject({ code: 'kdf_iterations_too_low', exitCode: 78 });
  }
  const primary = { version: 1, key: passphrase, salt: EncryptionKeyManager.generateSalt() };
  const weak = { ...primary, iterations: 99_999 };
  expect(() => new EncryptionKeyManager({ primary: weak })).toThrow(/at least 100000 iterations/);
});

describe('the development salt', () => {
  test('is generated once, readable only by its owner, and kept', async () => {
    const options = { environment: 'development', dataDir: join(folder, 'kept/deep') } as const;
    const first = await EncryptionKeyManager.getOrCreateSalt(options);
    expect(await EncryptionKeyManager.getOrCreateSalt({ ...options, kdfSalt: '' })).toBe(first);
    expect(await readdir(options.dataDir)).toEqual([SALT_FILE_NAME]);
    expect((await stat(join(options.dataDir, SALT_FILE_NAME))).mode & 0o777).toBe(0o600);
  });

  test('is never replaced when its file is damaged', async () => {
    const dataDir = await mkdtemp(join(folder, 'damaged-'));
    for (const content of ['', 'not base64', Buffer.alloc(31).toString('base64')]) {
      await writeFile(join(dataDir, SALT_FILE_NAME), content);
      const attempt = EncryptionKeyManager.getOrCreateSalt({ environment: 'development', dataDir });
      await expect(attempt).rejects.toMatchObject({ code: 'kdf_salt_invalid', exitCode: 78 });
      expect(await readFile(join(dataDir, SALT_FILE_NAME), 'utf8')).toBe(content);
    }
  });

  test('that cannot be stored is an error that names the file', async () => {
    const dataDir = join(folder, 'a-file');
    await writeFile(dataDir, '');
    const attempt = EncryptionKeyManager.getOrCreateSalt({ environment: 'development', dataDir });
    await expect(attempt).rejects.toMatchObject({
      code: 'kdf_salt_unusable',
      message: expect.stringContaining(join(dataDir, SALT_FILE_NAME)),
    });
  });

  test('is overridden by KDF_SALT in every environment, and a malformed KDF_SALT is refused', async () => {
    const kdfSalt = EncryptionKeyManager.generateSalt();
    const malformed = [kdfSalt.slice(0, -1), ` ${kdfSalt}`, 'abcd', `${kdfSalt.slice(0, 42)}-=`];
    for (const environment of ['development', 'staging', 'production'] as const) {
      const options = { environment, dataDir: join(folder, 'unused') };
      expect(await EncryptionKeyManager.getOrCreateSalt({ ...options, kdfSalt })).toBe(kdfSalt);
      for (const wrong of malformed) {
        const attempt = EncryptionKeyManager.getOrCreateSalt({ ...options, kdfSalt: wrong });
        await expect(attempt).rejects.toMatchObject({ code: 'kdf_salt_invalid', exitCode: 78 });
      }
    }
  });

  test('is the same in one process for 50 callers at once', async () => {
    const options = { environment: 'development', dataDir: join(folder, 'callers') } as const;
    const salts = await Promise.all(
      Array.from({ length: 50 }, () => EncryptionKeyManager.getOrCreateSalt(options)),
    );
    expect(new Set(salts).size).toBe(1);
    expect(await readdir(options.dataDir)).toEqual([SALT_FILE_NAME]);
  });

  test('is the same for four processes that start together, 25 folders in a row', async () => {
    const script = `
      import { getOrCreateSalt } from ${JSON.stringify(join(sourceRoot, 'crypto/salt.ts'))};
      import { createInterface } from 'node:readline';
      console.log('ready');
      for await (const dataDir of createInterface({ input: process.stdin })) {
        console.log(await getOrCreateSalt({ environment: 'development', dataDir }));
      }
    `;
    const children = Array.from({ length: 4 }, () => {
      const args = ['--import', 'tsx', '--input-type=module', '--eval', script];
      const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      return { child, lines };
    });
    try {
      for (const { lines } of children)
        expect(await lines.next()).toMatchObject({ value: 'ready' });
      for (let round = 0; round < 25; round += 1) {
        const dataDir = join(folder, `race-${round}`);
        for (const { child } of children) child.stdin.write(`${dataDir}\n`);
        const answers = await Promise.all(children.map(({ lines }) => lines.next()));
        const salts = answers.map((answer) => String(answer.value));
        expect(salts[0]).toMatch(/^[A-Za-z0-9+/]{43}=$/);
        expect(new Set(salts).size).toBe(1);
      }
    } finally {
      const ends = children.map(({ child }) => once(child, 'exit'));
      for (const { child } of children) child.stdin.end();
      await Promise.all(ends);
    }
  });
});
