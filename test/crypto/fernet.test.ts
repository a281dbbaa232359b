import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createFernet, createMultiFernet } from '../../src/crypto/fernet.ts';

const key = randomBytes(32);
const fernet = createFernet(key);
const plaintext = Buffer.from('exchange me');
const failed = expect.objectContaining({ code: 'decryption_failed', details: {} });
const at = (seconds: number): Date => new Date(1_700_000_000_000 + seconds * 1000);

test('a token is URL-safe base64 with padding and is decrypted by a key in text form', () => {
  const token = fernet.encrypt(plaintext);
  expect(token).toMatch(/^gAAAA[A-Za-z0-9_-]+={0,2}$/);
  expect(token.length % 4).toBe(0);
  const text = key.toString('base64').replaceAll('+', '-').replaceAll('/', '_');
  expect(createFernet(text).decrypt(token)).toEqual(plaintext);
});

test('every length up to three blocks is decrypted unchanged', () => {
  for (let length = 0; length <= 48; length += 1) {
    const bytes = randomBytes(length);
    expect(fernet.decrypt(fernet.encrypt(bytes))).toEqual(bytes);
  }
});

test('a token with any bit flipped is refused', () => {
  const bytes = Buffer.from(fernet.encrypt(plaintext), 'base64url');
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const changed = Buffer.from(bytes);
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    const token = changed.toString('base64').replaceAll('+', '-').replaceAll('/', '_');
    expect(() => fernet.decrypt(token)).toThrow(failed);
  }
});

test('only one text is accepted: padding, alphabet and unused bits are strict', () => {
  const token = fernet.encrypt(Buffer.from('x'));
  for (const changed of [
    `${token}=`,
    `${token}\n`,
    ` ${token}`,
    `${token.slice(0, 8)} ${token.slice(8)}`,
    `${token.slice(0, 8)}%${token.slice(8)}`,
  ]) {
    expect(() => fernet.decrypt(changed)).toThrow(failed);
  }
  // Three lengths: no padding, one sign and two.
  const paddings = new Set<number>();
  const padded = [...Array(3).keys()].map((extra) => fernet.encrypt(Buffer.alloc(extra * 16)));
  for (const text of padded) {
    const body = text.replace(/=+$/, '');
    paddings.add(text.length - body.length);
    const last = body.charAt(body.length - 1);
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    for (const other of alphabet.replace(last, '')) {
      const changed = body.slice(0, -1) + other + '='.repeat(text.length - body.length);
      expect(() => fernet.decrypt(changed)).toThrow(failed);
    }
    for (const wrong of ['', '=', '==', '==='].filter((signs) => body + signs !== text)) {
      expect(() => fernet.decrypt(body + wrong)).toThrow(failed);
    }
  }
  expect(paddings).toEqual(new Set([0, 1, 2]));
});

describe('the age of a token', () => {
  const token = fernet.encrypt(plaintext, { now: at(0) });

  test('is not checked without a limit', () => {
    expect(fernet.decrypt(token, { now: at(1e9) })).toEqual(plaintext);
    expect(fernet.decrypt(token, { now: at(-1e9) })).toEqual(plaintext);
  });

  test('may equal the limit but not exceed it', () => {
    expect(fernet.decrypt(token, { ttlSeconds: 60, now: at(60) })).toEqual(plaintext);
    expect(() => fernet.decrypt(token, { ttlSeconds: 60, now: at(61) })).toThrow(failed);
  });

  test('may be at most 60 s in the future', () => {
    expect(fernet.decrypt(token, { ttlSeconds: 60, now: at(-60) })).toEqual(plaintext);
    expect(() => fernet.decrypt(token, { ttlSeconds: 60, now: at(-61) })).toThrow(failed);
  });
});

describe('a MultiFernet', () => {
  const older = createFernet(randomBytes(32));
  const multi = createMultiFernet([fernet, older]);

  test('encrypts under the first key', () => {
    const token = multi.encrypt(plaintext);
    expect(fernet.decrypt(token)).toEqual(plaintext);
    expect(() => older.decrypt(token)).toThrow(failed);
  });

  test('decrypts under any of its keys and no other', () => {
    expect(multi.decrypt(older.encrypt(plaintext))).toEqual(plaintext);
    const stranger = createFernet(randomBytes(32));
    expect(() => multi.decrypt(stranger.encrypt(plaintext))).toThrow(failed);
  });

  test('passes the age limit to its keys', () => {
    const token = older.encrypt(plaintext, { now: at(0) });
    expect(() => multi.decrypt(token, { ttlSeconds: 1, now: at(2) })).toThrow(failed);
  });

  test('needs at least one key', () => {
    expect(() => createMultiFernet([])).toThrow(/at least one Fernet/);
  });
});

test('a key of another length or in another alphabet is refused', () => {
  const wrong = [randomBytes(31), randomBytes(33), 'short', '', `${'/'.repeat(43)}=`];
  for (const value of wrong) expect(() => createFernet(value)).toThrow(/a Fernet key is 32 bytes/);
});
