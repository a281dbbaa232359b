/**
 * The default token, `v2.<key version>.<base64url of nonce, ciphertext and tag>`: AES-256-GCM under
 * a random 96-bit nonce, bound to tenant, table.column and key version. With random nonces a key is
 * safe for 2^32 tokens (NIST SP 800-38D, 8.3).
 */
import { randomBytes, type KeyObject } from 'node:crypto';
import { decodeBase64Url } from './base64.ts';
import { GCM_NONCE_BYTES, GCM_TAG_BYTES, openAes256Gcm, sealAes256Gcm } from './ciphers.ts';
import { associatedData, type EncryptionContext } from './context.ts';
import { decryptionFailed } from './decryption-failed.ts';
import { isKeyVersion } from './key-version.ts';
import { PLAINTEXT_MAX_BYTES } from './text.ts';

const prefix = 'v2.';
const shape = /^v2\.([1-9][0-9]{0,9})\.([A-Za-z0-9_-]+)$/;
const payloadMaxBytes = GCM_NONCE_BYTES + PLAINTEXT_MAX_BYTES + GCM_TAG_BYTES;
const tokenMaxChars = prefix.length + 11 + Math.ceil((payloadMaxBytes * 4) / 3);

export interface SealedToken {
  readonly keyVersion: number;
  /** Nonce, ciphertext, tag. */
  readonly payload: Buffer;
}

/** Whether a text has the prefix of a v2 token; any other text is parsed as Fernet. */
export function claimsToBeSealed(token: string): boolean {
  return token.startsWith(prefix);
}

/** The parts of a v2 token. @throws PurserError `decryption_failed` for any other text */
export function parseSealed(token: string): SealedToken {
  if (token.length > tokenMaxChars) throw decryptionFailed();
  const [, version, encoded] = shape.exec(token) ?? [];
  const payload = encoded === undefined ? undefined : decodeBase64Url(encoded);
  const keyVersion = Number(version);
  if (payload === undefined || !isKeyVersion(keyVersion)) throw decryptionFailed();
  if (payload.length < GCM_NONCE_BYTES + GCM_TAG_BYTES) throw decryptionFailed();
  return { keyVersion, payload };
}

/** A new token; the nonce makes every call differ. */
export function seal(
  key: KeyObject,
  keyVersion: number,
  context: EncryptionContext,
  plaintext: Uint8Array,
): string {
  const nonce = randomBytes(GCM_NONCE_BYTES);
  const sealed = sealAes256Gcm(key, nonce, associatedData(context, keyVersion), plaintext);
  return `${prefix}${keyVersion}.${Buffer.concat([nonce, sealed]).toString('base64url')}`;
}

/** Plaintext of a parsed token. @throws PurserError `decryption_failed` */
export function unseal(key: KeyObject, token: SealedToken, context: EncryptionContext): Buffer {
  const nonce = token.payload.subarray(0, GCM_NONCE_BYTES);
  const sealed = token.payload.subarray(GCM_NONCE_BYTES);
  const bound = associatedData(context, token.keyVersion);
  const plaintext = openAes256Gcm(key, nonce, bound, sealed);
  if (plaintext === undefined) throw decryptionFailed();
  return plaintext;
}
