/**
 * The primitives of tokens, over node:crypto. The caller passes every parameter, so that published vectors test the
 * code that production uses. Decryption returns undefined instead of throwing, so that a failure has no reason.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  timingSafeEqual,
  type KeyObject,
} from 'node:crypto';

export const GCM_NONCE_BYTES = 12;
export const GCM_TAG_BYTES = 16;
export const CBC_BLOCK_BYTES = 16;
export const HMAC_SHA256_BYTES = 32;

const gcmOptions = { authTagLength: GCM_TAG_BYTES } as const;

/** AES-256-GCM (NIST SP 800-38D): ciphertext followed by the 128-bit tag. */
export function sealAes256Gcm(
  key: KeyObject,
  nonce: Uint8Array,
  associatedData: Uint8Array,
  plaintext: Uint8Array,
): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce, gcmOptions);
  cipher.setAAD(associatedData);
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** Plaintext of `sealAes256Gcm`, or undefined when the tag does not fit. */
export function openAes256Gcm(
  key: KeyObject,
  nonce: Uint8Array,
  associatedData: Uint8Array,
  sealed: Uint8Array,
): Buffer | undefined {
  if (sealed.length < GCM_TAG_BYTES) return undefined;
  const tagStart = sealed.length - GCM_TAG_BYTES;
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, gcmOptions);
  decipher.setAAD(associatedData);
  decipher.setAuthTag(sealed.subarray(tagStart));
  const plaintext = decipher.update(sealed.subarray(0, tagStart));
  try {
    return Buffer.concat([plaintext, decipher.final()]);
  } catch {
    return undefined;
  }
}

/** AES-128-CBC with PKCS #7 padding. It authenticates nothing: only Fernet uses it, under an HMAC. */
export function sealAes128Cbc(key: KeyObject, iv: Uint8Array, plaintext: Uint8Array): Buffer {
  const cipher = createCipheriv('aes-128-cbc', key, iv);
  return Buffer.concat([cipher.update(plaintext), cipher.final()]);
}

/** Plaintext of `sealAes128Cbc`, or undefined for a wrong length or padding. */
export function openAes128Cbc(
  key: KeyObject,
  iv: Uint8Array,
  ciphertext: Uint8Array,
): Buffer | undefined {
  const decipher = createDecipheriv('aes-128-cbc', key, iv);
  const plaintext = decipher.update(ciphertext);
  try {
    return Buffer.concat([plaintext, decipher.final()]);
  } catch {
    return undefined;
  }
}

/** HMAC-SHA256 (RFC 2104), 32 bytes. */
export function hmacSha256(key: KeyObject, message: Uint8Array): Buffer {
  return createHmac('sha256', key).update(message).digest();
}

/** Whether `tag` is the message's HMAC-SHA256, compared in constant time. */
export function verifyHmacSha256(key: KeyObject, message: Uint8Array, tag: Uint8Array): boolean {
  return tag.length === HMAC_SHA256_BYTES && timingSafeEqual(hmacSha256(key, message), tag);
}
