import { createSecretKey, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import {
  associatedData,
  lengthPrefixed,
  type EncryptionContext,
} from '../../src/crypto/context.ts';
import { parseSealed, seal, unseal } from '../../src/crypto/sealed-token.ts';

const key = createSecretKey(randomBytes(32));
const context: EncryptionContext = {
  tenantId: 'tenant-a',
  column: 'aws_accounts.credentials',
  purpose: 'api_key',
};
const plaintext = Buffer.from('a secret of some length');
const failed = expect.objectContaining({ code: 'decryption_failed', details: {} });

function open(token: string, place: EncryptionContext = context): Buffer {
  return unseal(key, parseSealed(token), place);
}

/** The error of decrypting a token; success fails the test. */
function faultOf(token: string, place: EncryptionContext = context): unknown {
  try {
    open(token, place);
  } catch (error) {
    return error;
  }
  throw new Error(`the token was decrypted: ${token}`);
}

test('a token contains its key version in the clear and is decrypted in its context', () => {
  const token = seal(key, 7, context, plaintext);
  expect(token).toMatch(/^v2\.7\.[A-Za-z0-9_-]+$/);
  expect(parseSealed(token).keyVersion).toBe(7);
  expect(open(token)).toEqual(plaintext);
});

test('a token moved to another tenant or column is refused under the same key', () => {
  const token = seal(key, 1, context, plaintext);
  expect(faultOf(token, { ...context, tenantId: 'tenant-b' })).toEqual(failed);
  expect(faultOf(token, { ...context, tenantId: 'tenant-a ' })).toEqual(failed);
  expect(faultOf(token, { ...context, column: 'aws_accounts.notes' })).toEqual(failed);
  expect(faultOf(token, { ...context, column: 'api_integrations.credentials' })).toEqual(failed);
});

test('a token whose version was rewritten is refused under the same key', () => {
  const token = seal(key, 1, context, plaintext);
  expect(faultOf(token.replace('v2.1.', 'v2.2.'))).toEqual(failed);
  expect(faultOf(token.replace('v2.1.', 'v2.11.'))).toEqual(failed);
});

test('a token with any bit of nonce, ciphertext or tag flipped is refused', () => {
  const { payload } = parseSealed(seal(key, 1, context, plaintext));
  expect(payload).toHaveLength(12 + plaintext.length + 16);
  for (let bit = 0; bit < payload.length * 8; bit += 1) {
    const changed = Buffer.from(payload);
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(faultOf(`v2.1.${changed.toString('base64url')}`)).toEqual(failed);
  }
});

test('a token with any character replaced, removed or doubled is refused, the last one included', () => {
  // Lengths that leave 0, 2 and 4 unused bits in the last base64 character.
  for (const length of [23, 24, 25]) {
    const token = seal(key, 1, context, plaintext.subarray(0, length - 2));
    expect(open(token)).toEqual(plaintext.subarray(0, length - 2));
    for (let at = 0; at < token.length; at += 1) {
      const [head, char, tail] = [token.slice(0, at), token.charAt(at), token.slice(at + 1)];
      const replacements = 'AB1_-.=+/ \0'.split('').filter((other) => other !== char);
      const next = String.fromCharCode(char.charCodeAt(0) ^ 1);
      for (const changed of [...replacements, next, '', char + char]) {
        expect(faultOf(`${head}${changed}${tail}`)).toEqual(failed);
      }
    }
  }
});

test.each([
  '',
  'v2',
  'v2.',
  'v2.1',
  'v2.1.',
  'v2..AAAA',
  'v2.0.AAAA',
  'v2.01.AAAA',
  'v2.-1.AAAA',
  'v2.1e3.AAAA',
  `v2.2147483648.${'A'.repeat(40)}`,
  `v2.1.${'A'.repeat(36)}`,
  `v2.1.${'A'.repeat(40)}\n`,
  `v2.1.${'A'.repeat(1_500_000)}`,
])('a malformed token is refused with the same error (case %#)', (token) => {
  expect(faultOf(token)).toEqual(failed);
});

test('the error is identical for every fault', () => {
  const token = seal(key, 1, context, plaintext);
  const faults = [
    faultOf(token, { ...context, tenantId: 'other' }),
    faultOf(token.replace('v2.1.', 'v2.2.')),
    faultOf(token.slice(0, -4)),
    faultOf('v2.1.AAAA'),
    faultOf('nothing of the sort'),
  ];
  expect(new Set(faults.map((fault) => JSON.stringify(fault) + String(fault))).size).toBe(1);
  expect(faults[0]).not.toHaveProperty('cause');
  expect(String(faults[0])).not.toContain('tenant');
});

test('associated data cannot be shifted from one part into the next', () => {
  const shifted: EncryptionContext = { ...context, tenantId: 'tenant-aa', column: 'ws.x' };
  const original: EncryptionContext = { ...context, tenantId: 'tenant-a', column: 'aws.x' };
  expect(associatedData(shifted, 1)).not.toEqual(associatedData(original, 1));
  expect(lengthPrefixed(['a', 'bc'])).not.toEqual(lengthPrefixed(['ab', 'c']));
  expect(lengthPrefixed(['é', ''])).toEqual(Buffer.from([0, 0, 0, 2, 0xc3, 0xa9, 0, 0, 0, 0]));
});
