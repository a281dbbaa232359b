import { describe, expect, test } from 'vitest';
import type { EncryptionContext } from '../../src/crypto/context.ts';
import { deriveKey, KDF_ITERATIONS_MINIMUM } from '../../src/crypto/derive.ts';
import {
  EncryptionKeyManager,
  KEY_CACHE_TTL_MS,
  type KeyringOptions,
} from '../../src/crypto/keyring.ts';
import { generateSalt } from '../../src/crypto/salt.ts';

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

/** A key manager with a test clock, which counts runs of the real derivation. */
function counted(options: Partial<KeyringOptions> = {}) {
  const state = { derivations: 0, nowMs: 0 };
  const counting = new EncryptionKeyManager({
    primary,
    nowMs: () => state.nowMs,
    derive: (...given) => {
      state.derivations += 1;
      return deriveKey(...given);
    },
    ...options,
  });
  return { counting, state };
}

test('malformed text is refused by the same error and costs no derivation', async () => {
  const { counting, state } = counted();
  const unknownVersion = (
    await new EncryptionKeyManager({ primary }).encryptString('x', context)
  ).ciphertext.replace('.1.', '.9.');
  for (const token of ['', 'plain text', 'gAAAA', 'v2.', unknownVersion, 'v3.1.AAAA']) {
    await expect(counting.decryptString(token, context)).rejects.toEqual(failed);
  }
  // @ts-expect-error a null column reaches here when a row is read without its type
  await expect(counting.decryptString(null, context)).rejects.toEqual(failed);
  expect(state.derivations).toBe(0);
});

describe('derivation', () => {
  test('runs once for any number of concurrent callers and purposes', async () => {
    const { counting, state } = counted();
    const purposes = ['api_key', 'pii', 'generic'] as const;
    await Promise.all(
      Array.from({ length: 300 }, async (_, index) => {
        const place = { ...context, purpose: purposes[index % 3] ?? 'generic' };
        const { ciphertext } = await counting.encryptString(`value ${index}`, place);
        expect(await counting.decryptString(ciphertext, place)).toBe(`value ${index}`);
      }),
    );
    expect(state.derivations).toBe(1);
  });

  test('expires after its time limit and is repeated', async () => {
    const { counting, state } = counted();
    const { ciphertext } = await counting.encryptString('secret', context);
    state.nowMs = KEY_CACHE_TTL_MS - 1;
    await counting.encryptString('secret', context);
    expect(state.derivations).toBe(1);
    state.nowMs = KEY_CACHE_TTL_MS;
    expect(await counting.decryptString(ciphertext, context)).toBe('secret');
    expect(state.derivations).toBe(2);
  });

  test('that failed is repeated by the next caller', async () => {
    let calls = 0;
    const { counting } = counted({
      derive: (...given) => {
        calls += 1;
        return calls === 1 ? Promise.reject(new Error('pool is gone')) : deriveKey(...given);
      },
    });
    await expect(counting.encryptString('x', context)).rejects.toThrow('pool is gone');
    expect(await counting.encryptString('x', context)).toMatchObject({ keyVersion: 1 });
  });

  test('of a legacy key waits until a token needs it', async () => {
    const legacy = [{ version: 2, key: 'an older passphrase', iterations }];
    const { counting, state } = counted({ legacy });
    await counting.encryptString('x', context);
    expect(state.derivations).toBe(1);
    const older = new EncryptionKeyManager({
      primary: { ...primary, version: 2, key: 'an older passphrase' },
    });
    const { ciphertext } = await older.encryptString('old', context);
    expect(await counting.decryptString(ciphertext, context)).toBe('old');
    expect(state.derivations).toBe(2);
  });

  test('does not block the event loop: a timer runs before the key is derived', async () => {
    const order: string[] = [];
    const derived = deriveKey(primary.key, Buffer.alloc(32, 1)).then(() => order.push('key'));
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    order.push('loop');
    await derived;
    expect(order).toEqual(['loop', 'key']);
  });
});
