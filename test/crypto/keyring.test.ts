import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { EncryptionContext } from '../../src/crypto/context.ts';
import { deriveKey, generateKey, KDF_ITERATIONS_MINIMUM } from '../../src/crypto/derive.ts';
import { EncryptionKeyManager, type KeyringOptions } from '../../src/crypto/keyring.ts';
import { generateSalt } from '../../src/crypto/salt.ts';
import { PLAINTEXT_MAX_BYTES } from '../../src/crypto/text.ts';

const iterations = KDF_ITERATIONS_MINIMUM;
const primary = {
  version: 1,
  key: 'a passphrase for tests only',
  salt: generateSalt(),
  iterations,
};
const context: EncryptionContext = {
  tenantId: 'tenant-a',
  column: 'aws_accounts.credentials',
  purpose: 'api_key',
};
const failed = expect.objectContaining({ code: 'decryption_failed', details: {} });
const manager = new EncryptionKeyManager({ primary });

describe('text is decrypted unchanged', () => {
  test.each([
    ['the empty string', ''],
    ['NUL', '\0'],
    ['NUL inside', 'before\0after'],
    ['a byte order mark', '\uFEFFtext\uFEFF'],
    ['several scripts and emoji', 'žluťoučký 漢字 עברית 🧾🏴‍☠️'],
    ['unnormalised text', 'e\u0301 \u00e9'],
    ['1 MiB of ASCII', 'x'.repeat(PLAINTEXT_MAX_BYTES)],
    ['1 MiB of three-byte characters and one', '漢'.repeat(349_525) + 'x'],
  ])('%s', async (_name, value) => {
    const { ciphertext } = await manager.encryptString(value, context);
    expect((await manager.decryptString(ciphertext, context)) === value).toBe(true);
    const fernet = (await manager.getEncryptionFernet(context)).encrypt(Buffer.from(value));
    expect((await manager.decryptString(fernet, context)) === value).toBe(true);
  });

  test.each([
    ['x'.repeat(PLAINTEXT_MAX_BYTES + 1)],
    ['漢'.repeat(349_525) + 'xx'],
    ['é'.repeat(PLAINTEXT_MAX_BYTES)],
  ])('or is refused above 1 MiB of UTF-8 (case %#)', async (value) => {
    await expect(manager.encryptString(value, context)).rejects.toMatchObject({
      code: 'plaintext_too_large',
    });
  });

  test.each(['\ud800', 'secret\udfff', '\udc00\ud800', 'ok\ud83d'])(
    'or is refused with a lone surrogate, without quoting it (case %#)',
    async (value) => {
      await expect(manager.encryptString(value, context)).rejects.toMatchObject({
        code: 'plaintext_invalid',
        message: expect.not.stringContaining('secret'),
      });
    },
  );

  test('and a token over bytes that are not UTF-8 is refused', async () => {
    const fernet = await manager.getEncryptionFernet(context);
    const token = fernet.encrypt(Buffer.from([0xff, 0xfe]));
    await expect(manager.decryptString(token, context)).rejects.toEqual(failed);
  });
});

describe('a token is decrypted only in its own context', () => {
  const places: [string, EncryptionContext][] = [
    ['tenant', { ...context, tenantId: 'tenant-b' }],
    ['column', { ...context, column: 'aws_accounts.notes' }],
    ['purpose', { ...context, purpose: 'pii' }],
  ];

  test.each(places)('v2, another %s', async (_name, place) => {
    const { ciphertext } = await manager.encryptString('secret', context);
    await expect(manager.decryptString(ciphertext, place)).rejects.toEqual(failed);
  });

  test.each(places)('Fernet, another %s', async (_name, place) => {
    const token = (await manager.getEncryptionFernet(context)).encrypt(Buffer.from('secret'));
    expect(await manager.decryptString(token, context)).toBe('secret');
    await expect(manager.decryptString(token, place)).rejects.toEqual(failed);
  });

  test('v2, another version of the same passphrase and salt', async () => {
    const twins = new EncryptionKeyManager({ primary, legacy: [{ ...primary, version: 2 }] });
    const { ciphertext } = await twins.encryptString('secret', context);
    expect(await twins.decryptString(ciphertext, context)).toBe('secret');
    const moved = ciphertext.replace('v2.1.', 'v2.2.');
    await expect(twins.decryptString(moved, context)).rejects.toEqual(failed);
  });
});

describe('keys', () => {
  test('do not appear when the manager is printed or serialised', async () => {
    await manager.encryptString('x', context);
    const shown = inspect(manager, { depth: 10, showHidden: true }) + JSON.stringify(manager);
    expect(shown).not.toContain(primary.key);
    expect(shown).not.toContain(primary.salt);
  });

  test('are listed by version for the fleet to compare', () => {
    const legacy = [12, 3].map((version) => ({ version, key: 'another passphrase' }));
    const several = new EncryptionKeyManager({ primary: { ...primary, version: 7 }, legacy });
    expect(several.versions).toEqual([3, 7, 12]);
    expect(several.primaryVersion).toBe(7);
  });

  test('are refused by the constructor, with exit code 78, when they are invalid', () => {
    const wrong: KeyringOptions[] = [
      { primary: { ...primary, key: 'fifteen chars..' } },
      { primary: { ...primary, key: `sixteen and more\ud800` } },
      { primary: { ...primary, version: 0 } },
      { primary: { ...primary, salt: 'short' } },
      { primary, legacy: [{ version: 1, key: 'same version' }] },
      { primary, legacy: [{ version: 2, key: '' }] },
      { primary, legacy: [{ version: 2, key: 'k', salt: '?' }] },
      { primary, legacy: [{ version: 2, key: 'k', iterations: 1000 }] },
    ];
    for (const options of wrong) {
      expect(() => new EncryptionKeyManager(options)).toThrow(
        expect.objectContaining({ exitCode: 78 }),
      );
    }
    expect(
      () => new EncryptionKeyManager({ primary: { ...primary, key: generateKey() } }),
    ).not.toThrow();
  });
});

test.each([
  { ...context, tenantId: '' },
  { ...context, tenantId: '\ud800' },
  { ...context, column: 'Credentials.x' as const },
  { ...context, column: 'public.aws_accounts.credentials' as const },
  { ...context, purpose: 'toString' },
])('a context that names no place is the caller’s error (case %#)', async (wrong) => {
  const code = 'encryption_context_invalid';
  // @ts-expect-error an unknown purpose, as from a caller without types
  await expect(manager.encryptString('x', wrong)).rejects.toMatchObject({ code });
  // @ts-expect-error as above
  await expect(manager.decryptString('v2.1.AAAA', wrong)).rejects.toMatchObject({ code });
});

test('tokens of the earlier Python service are decrypted by its key and no other', async () => {
  const salt = Buffer.from('a salt that stood in the source').toString('base64');
  const masterKey = 'master';
  const raw = await deriveKey(`${masterKey}:v1`, Buffer.from(salt, 'base64'), 100_000);
  const token = EncryptionKeyManager.createFernet(raw).encrypt(Buffer.from('from python'));

  const python = { version: 9, key: masterKey, salt, profile: 'python', kdfVersion: 1 } as const;
  const reader = new EncryptionKeyManager({
    primary: { ...primary, version: 10 },
    legacy: [python],
  });
  expect(await reader.decryptString(token, context)).toBe('from python');
  const rewritten = await reader.encryptString('from python', context);
  expect(rewritten.ciphertext).toMatch(/^v2\.10\./);

  const { kdfVersion: _omitted, ...versionNine } = python;
  const other = new EncryptionKeyManager({ primary, legacy: [versionNine] });
  await expect(other.decryptString(token, context)).rejects.toEqual(failed);
});

test('a key of the Python service decrypts no v2 token, not even one encrypted with that key', async () => {
  const version = 9;
  const writer = new EncryptionKeyManager({
    primary: { ...primary, version, key: 'a python master key:v1' },
  });
  const { ciphertext } = await writer.encryptString('forged', context);
  expect(await writer.decryptString(ciphertext, context)).toBe('forged');
  const python = { version, key: 'a python master key', profile: 'python', kdfVersion: 1 } as const;
  const reader = new EncryptionKeyManager({ primary, legacy: [python] });
  await expect(reader.decryptString(ciphertext, context)).rejects.toEqual(failed);
});
