/**
 * Fernet exactly as specified (github.com/fernet/spec, version 0x80), for exchange with programs in
 * other languages: AES-128-CBC under an HMAC-SHA256 that is checked first and in constant time.
 */
import { createSecretKey, randomBytes, type KeyObject } from 'node:crypto';
import { PurserError } from '../errors.ts';
import { decodePaddedBase64Url, encodePaddedBase64Url } from './base64.ts';
import {
  CBC_BLOCK_BYTES,
  HMAC_SHA256_BYTES,
  hmacSha256,
  openAes128Cbc,
  sealAes128Cbc,
  verifyHmacSha256,
} from './ciphers.ts';
import { decryptionFailed } from './decryption-failed.ts';

/** Accepted clock skew of a token from the future, when its age is checked. */
const FERNET_MAX_CLOCK_SKEW_SECONDS = 60;

const version = 0x80;
const headerBytes = 9;
const ivEnd = headerBytes + CBC_BLOCK_BYTES;
const minimumBytes = ivEnd + CBC_BLOCK_BYTES + HMAC_SHA256_BYTES;
const keyBytes = 32;

export interface FernetReadOptions {
  /** Refuse tokens older than this, and those more than 60 s from the future. Default: any age. */
  readonly ttlSeconds?: number;
  /** Default: now. */
  readonly now?: Date;
}

export interface FernetWriteOptions {
  /** Time written into the token. Default: now. */
  readonly now?: Date;
  /** 16 bytes; only published vectors give it. Default: random, as it must be. */
  readonly iv?: Uint8Array;
}

/** Bytes of a well-formed token. @throws PurserError `decryption_failed` for any other text */
export function parseFernet(token: string): Buffer {
  const bytes = decodePaddedBase64Url(token);
  if (bytes === undefined || bytes.length < minimumBytes || bytes[0] !== version) {
    throw decryptionFailed();
  }
  if ((bytes.length - ivEnd - HMAC_SHA256_BYTES) % CBC_BLOCK_BYTES !== 0) throw decryptionFailed();
  return bytes;
}

/** One key: the first half signs, the second encrypts. */
export class Fernet {
  readonly #signingKey: KeyObject;
  readonly #encryptionKey: KeyObject;

  /** @param key 32 bytes. */
  constructor(key: Uint8Array) {
    if (key.length !== keyBytes) throw keyInvalid();
    this.#signingKey = createSecretKey(key.subarray(0, 16));
    this.#encryptionKey = createSecretKey(key.subarray(16));
  }

  /** A token in URL-safe base64 with padding. */
  encrypt(plaintext: Uint8Array, options: FernetWriteOptions = {}): string {
    const header = Buffer.alloc(headerBytes);
    header[0] = version;
    header.writeBigUInt64BE(BigInt(epochSeconds(options.now)), 1);
    const iv = options.iv ?? randomBytes(CBC_BLOCK_BYTES);
    const ciphertext = sealAes128Cbc(this.#encryptionKey, iv, plaintext);
    const signed = Buffer.concat([header, iv, ciphertext]);
    const tag = hmacSha256(this.#signingKey, signed);
    return encodePaddedBase64Url(Buffer.concat([signed, tag]));
  }

  /** Plaintext of a token. @throws PurserError `decryption_failed`, whatever the fault */
  decrypt(token: string, options: FernetReadOptions = {}): Buffer {
    const bytes = parseFernet(token);
    const signed = bytes.subarray(0, bytes.length - HMAC_SHA256_BYTES);
    const tag = bytes.subarray(signed.length);
    if (!verifyHmacSha256(this.#signingKey, signed, tag)) throw decryptionFailed();
    if (!isFresh(signed.readBigUInt64BE(1), options)) throw decryptionFailed();
    const iv = signed.subarray(headerBytes, ivEnd);
    const plaintext = openAes128Cbc(this.#encryptionKey, iv, signed.subarray(ivEnd));
    if (plaintext === undefined) throw decryptionFailed();
    return plaintext;
  }
}

/** Several keys: the first encrypts, all decrypt. */
export class MultiFernet {
  readonly #fernets: readonly [Fernet, ...Fernet[]];

  constructor(fernets: readonly Fernet[]) {
    const [first, ...rest] = fernets;
    if (first === undefined) {
      throw new PurserError('fernet_key_invalid', 'a MultiFernet needs at least one Fernet');
    }
    this.#fernets = [first, ...rest];
  }

  encrypt(plaintext: Uint8Array, options: FernetWriteOptions = {}): string {
    return this.#fernets[0].encrypt(plaintext, options);
  }

  /** @throws PurserError `decryption_failed` when no key opens the token */
  decrypt(token: string, options: FernetReadOptions = {}): Buffer {
    for (const fernet of this.#fernets) {
      try {
        return fernet.decrypt(token, options);
      } catch {
        continue;
      }
    }
    throw decryptionFailed();
  }
}

/**
 * A Fernet of a 32-byte key, as bytes or in the spec's text form (URL-safe base64 with padding).
 * @throws PurserError `fernet_key_invalid`
 */
export function createFernet(key: Uint8Array | string): Fernet {
  const bytes = typeof key === 'string' ? decodePaddedBase64Url(key) : key;
  if (bytes === undefined) throw keyInvalid();
  return new Fernet(bytes);
}

/** A MultiFernet: the first encrypts, all decrypt. @throws PurserError `fernet_key_invalid` if empty */
export function createMultiFernet(fernets: readonly Fernet[]): MultiFernet {
  return new MultiFernet(fernets);
}

function isFresh(createdAtSeconds: bigint, options: FernetReadOptions): boolean {
  if (options.ttlSeconds === undefined) return true;
  const now = epochSeconds(options.now);
  const createdAt = Number(createdAtSeconds);
  return createdAt + options.ttlSeconds >= now && createdAt <= now + FERNET_MAX_CLOCK_SKEW_SECONDS;
}

function epochSeconds(at: Date = new Date()): number {
  return Math.floor(at.getTime() / 1000);
}

function keyInvalid(): PurserError {
  return new PurserError(
    'fernet_key_invalid',
    `a Fernet key is ${keyBytes} bytes, in text URL-safe base64 with padding (44 characters)`,
  );
}
