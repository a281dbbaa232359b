import { createSecretKey, type KeyObject } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  openAes128Cbc,
  openAes256Gcm,
  sealAes128Cbc,
  sealAes256Gcm,
  verifyHmacSha256,
} from '../../src/crypto/ciphers.ts';
import { pbkdf2Sha256 } from '../../src/crypto/derive.ts';
import { createFernet } from '../../src/crypto/fernet.ts';
import { codeOf } from '../../src/errors.ts';

const folder = new URL('../../../shared/vectors/', import.meta.url);

/** The result of our code for one vector, and the expected result. */
interface Comparison {
  id: string | number;
  actual: unknown;
  expected: unknown;
}

interface Vectors {
  total: number;
  fitting: (() => Comparison | Promise<Comparison>)[];
}

/** One test over a file of vectors; its title contains their number, or that the file is absent. */
function vectorTest(file: string, select: (text: string) => Vectors): void {
  const url = new URL(file, folder);
  const present = existsSync(url);
  const { total, fitting } = present
    ? select(readFileSync(url, 'utf8'))
    : { total: 0, fitting: [] };
  const title = present
    ? `${fitting.length} of ${total} vectors fit the parameters used here, and pass`
    : 'skipped, the file is not beside this project';
  test.skipIf(!present)(`${file}: ${title}`, async () => {
    expect(fitting.length).toBeGreaterThan(0);
    for (const compare of fitting) {
      const { id, actual, expected } = await compare();
      expect({ id, actual }).toEqual({ id, actual: expected });
    }
  });
}

interface FernetVector {
  desc: string;
  token: string;
  now: string;
  ttl_sec: number;
  iv: number[];
  src: string;
  secret: string;
}

function fernetVectors(text: string, compare: (vector: FernetVector) => Comparison): Vectors {
  const vectors: FernetVector[] = JSON.parse(text);
  return { total: vectors.length, fitting: vectors.map((vector) => () => compare(vector)) };
}

/** The plaintext of a vector's token, or the code of the error. */
function decryptOrCode({ secret, token, now, ttl_sec: ttlSeconds }: FernetVector): string {
  try {
    return createFernet(secret)
      .decrypt(token, { now: new Date(now), ttlSeconds })
      .toString();
  } catch (error) {
    return codeOf(error);
  }
}

vectorTest('fernet/generate.json', (text) =>
  fernetVectors(text, ({ secret, src, now, iv, token }) => {
    const options = { now: new Date(now), iv: Uint8Array.from(iv) };
    const actual = createFernet(secret).encrypt(Buffer.from(src), options);
    return { id: src, actual, expected: token };
  }),
);

vectorTest('fernet/verify.json', (text) =>
  fernetVectors(text, (vector) => ({
    id: vector.src,
    actual: decryptOrCode(vector),
    expected: vector.src,
  })),
);

vectorTest('fernet/invalid.json', (text) =>
  fernetVectors(text, (vector) => ({
    id: vector.desc,
    actual: decryptOrCode(vector),
    expected: 'decryption_failed',
  })),
);

vectorTest('pbkdf2_hmac_sha256_rfc7914.json', (text) => {
  const vectors: {
    password: string;
    salt: string;
    iterations: number;
    dkLen: number;
    dk: string;
  }[] = JSON.parse(text);
  return {
    total: vectors.length,
    fitting: vectors.map(({ password, salt, iterations, dkLen, dk }) => async () => {
      const key = await pbkdf2Sha256(password, Buffer.from(salt), iterations, dkLen);
      return { id: `${password} ${iterations}`, actual: key.toString('hex'), expected: dk };
    }),
  };
});

interface WycheproofCase {
  tcId: number;
  key: string;
  iv: string;
  aad: string;
  msg: string;
  ct: string;
  tag: string;
  password: string;
  salt: string;
  iterationCount: number;
  dkLen: number;
  dk: string;
  result: 'valid' | 'invalid';
}

interface WycheproofGroup {
  keySize: number;
  ivSize: number;
  tagSize: number;
  tests: WycheproofCase[];
}

function wycheproofVectors(
  text: string,
  fits: (group: WycheproofGroup) => boolean,
  compare: (vector: WycheproofCase) => Omit<Comparison, 'id'> | Promise<Omit<Comparison, 'id'>>,
): Vectors {
  const file: { numberOfTests: number; testGroups: WycheproofGroup[] } = JSON.parse(text);
  const cases = file.testGroups.filter((group) => fits(group)).flatMap((group) => group.tests);
  return {
    total: file.numberOfTests,
    fitting: cases.map((vector) => async () => ({ id: vector.tcId, ...(await compare(vector)) })),
  };
}

function bytes(hex: string): Buffer {
  return Buffer.from(hex, 'hex');
}

function keyOf(vector: WycheproofCase): KeyObject {
  return createSecretKey(bytes(vector.key));
}

/** A valid vector decrypts to its message and encrypts to its ciphertext; an invalid one is refused. */
function cipherComparison(
  { msg, result }: WycheproofCase,
  opened: Buffer | undefined,
  sealsEqually: boolean,
): Omit<Comparison, 'id'> {
  const valid = result === 'valid';
  return {
    actual: { opened: opened?.toString('hex'), sealsEqually },
    expected: { opened: valid ? msg : undefined, sealsEqually: valid },
  };
}

vectorTest('wycheproof/pbkdf2_hmacsha256_test.json', (text) =>
  wycheproofVectors(
    text,
    () => true,
    async ({ password, salt, iterationCount, dkLen, dk }) => {
      const key = await pbkdf2Sha256(bytes(password), bytes(salt), iterationCount, dkLen);
      return { actual: key.toString('hex'), expected: dk };
    },
  ),
);

// Fernet compares whole tags: the vectors with truncated ones do not apply.
vectorTest('wycheproof/hmac_sha256_test.json', (text) =>
  wycheproofVectors(
    text,
    (group) => group.tagSize === 256,
    (vector) => ({
      actual: verifyHmacSha256(keyOf(vector), bytes(vector.msg), bytes(vector.tag)),
      expected: vector.result === 'valid',
    }),
  ),
);

// v2 tokens have 256-bit keys, 96-bit nonces and 128-bit tags, nothing else.
vectorTest('wycheproof/aes_gcm_test.json', (text) =>
  wycheproofVectors(
    text,
    ({ keySize, ivSize, tagSize }) => keySize === 256 && ivSize === 96 && tagSize === 128,
    (vector) => {
      const [key, nonce, aad] = [keyOf(vector), bytes(vector.iv), bytes(vector.aad)];
      const sealed = bytes(vector.ct + vector.tag);
      const resealed = sealAes256Gcm(key, nonce, aad, bytes(vector.msg));
      const opened = openAes256Gcm(key, nonce, aad, sealed);
      return cipherComparison(vector, opened, resealed.equals(sealed));
    },
  ),
);

// The half of a Fernet key that encrypts has 128 bits.
vectorTest('wycheproof/aes_cbc_pkcs5_test.json', (text) =>
  wycheproofVectors(
    text,
    ({ keySize }) => keySize === 128,
    (vector) => {
      const [key, iv, sealed] = [keyOf(vector), bytes(vector.iv), bytes(vector.ct)];
      const resealed = sealAes128Cbc(key, iv, bytes(vector.msg));
      return cipherComparison(vector, openAes128Cbc(key, iv, sealed), resealed.equals(sealed));
    },
  ),
);
