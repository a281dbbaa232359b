/**
 * From a passphrase to keys: PBKDF2-HMAC-SHA256 once per passphrase, off the event loop, then HKDF for a separate
 * key per use. Nothing is cached here; the keyring caches.
 */
import {
  createSecretKey,
  hkdfSync,
  pbkdf2,
  randomBytes,
  type BinaryLike,
  type KeyObject,
} from 'node:crypto';
import { promisify } from 'node:util';
import { exitCodes, PurserError } from '../errors.ts';
import { hasLoneSurrogate } from './text.ts';

/** OWASP Password Storage Cheat Sheet, PBKDF2-HMAC-SHA256. */
export const KDF_ITERATIONS = 600_000;
/** Lower counts are refused, whatever the configuration says. */
export const KDF_ITERATIONS_MINIMUM = 100_000;
/** PBKDF2 takes a signed 32-bit count. */
export const KDF_ITERATIONS_MAXIMUM = 2_147_483_647;
/** Length of every derived key in bytes. */
const KDF_KEY_LENGTH = 32;

const pbkdf2Async = promisify(pbkdf2);

/** Plain PBKDF2-HMAC-SHA256 (RFC 8018) on libuv's thread pool; no floor on the iterations. */
export function pbkdf2Sha256(
  password: BinaryLike,
  salt: Uint8Array,
  iterations: number,
  lengthBytes: number,
): Promise<Buffer> {
  return pbkdf2Async(password, salt, iterations, lengthBytes, 'sha256');
}

/**
 * The 32-byte key of a passphrase (its UTF-8, not normalised, as Python's `str.encode` gives it).
 * Takes about 0.2 s of one pool thread at the default count; the event loop is not blocked.
 * @throws PurserError `kdf_iterations_too_low` (exit 78) under 100,000 iterations,
 *   `kdf_input_invalid` (exit 78) for an empty passphrase or salt, or a lone surrogate
 */
export async function deriveKey(
  passphrase: string,
  salt: Uint8Array,
  iterations: number = KDF_ITERATIONS,
): Promise<Buffer> {
  assertIterations(iterations);
  if (passphrase === '' || hasLoneSurrogate(passphrase)) {
    throw kdfInputInvalid('the passphrase is empty or not well-formed text');
  }
  if (salt.length === 0) throw kdfInputInvalid('the salt is empty');
  return pbkdf2Sha256(passphrase, salt, iterations, KDF_KEY_LENGTH);
}

/** @throws PurserError `kdf_iterations_too_low` unless the count is an integer of 100,000 to 2^31-1 */
export function assertIterations(iterations: number): void {
  const valid =
    Number.isInteger(iterations) &&
    iterations >= KDF_ITERATIONS_MINIMUM &&
    iterations <= KDF_ITERATIONS_MAXIMUM;
  if (valid) return;
  throw new PurserError(
    'kdf_iterations_too_low',
    `PBKDF2 needs a whole number of at least ${KDF_ITERATIONS_MINIMUM} iterations, got ${iterations}`,
    { exitCode: exitCodes.configuration },
  );
}

/** A 32-byte key for one use, by HKDF-SHA256 (RFC 5869) without salt. `info` is at most 1024 bytes. */
export function expandKey(root: KeyObject, info: Uint8Array): KeyObject {
  const none = new Uint8Array();
  return createSecretKey(Buffer.from(hkdfSync('sha256', root, none, info, KDF_KEY_LENGTH)));
}

/** A random passphrase for `ENCRYPTION_KEY`: 256 bits, 44 base64 characters. */
export function generateKey(): string {
  return randomBytes(KDF_KEY_LENGTH).toString('base64');
}

function kdfInputInvalid(fault: string): PurserError {
  return new PurserError('kdf_input_invalid', `no key can be derived: ${fault}`, {
    exitCode: exitCodes.configuration,
  });
}
