/**
 * The keys of one process: the primary writes, all read. Passphrases are turned into keys off the
 * event loop and kept for a limited time, so encrypting costs microseconds; no key, salt or
 * passphrase is reachable from outside, not by printing and not by serialising the object.
 */
import { createSecretKey, type KeyObject } from 'node:crypto';
import { exitCodes, PurserError } from '../errors.ts';
import { decodeBase64 } from './base64.ts';
import { assertContext, fernetKeyInfo, sealedKeyInfo, type EncryptionContext } from './context.ts';
import { decryptionFailed } from './decryption-failed.ts';
import {
  assertIterations,
  deriveKey,
  expandKey,
  generateKey,
  KDF_ITERATIONS,
  KDF_ITERATIONS_MINIMUM,
} from './derive.ts';
import { createFernet, createMultiFernet, parseFernet, type MultiFernet } from './fernet.ts';
import { isKeyVersion } from './key-version.ts';
import type { LegacyKey } from './legacy-keys.ts';
import { decodeSalt, generateSalt, getOrCreateSalt } from './salt.ts';
import { claimsToBeSealed, parseSealed, seal, unseal } from './sealed-token.ts';
import { decodePlaintext, encodePlaintext, hasLoneSurrogate } from './text.ts';

/** How long a derived key is kept. The next use derives it again. */
export const KEY_CACHE_TTL_MS = 3_600_000;
/** Shortest `ENCRYPTION_KEY` in characters. */
const PASSPHRASE_MIN_CHARS = 16;

export interface KeyringOptions {
  readonly primary: {
    /** Names the key for good: a new passphrase gets a new number. */
    readonly version: number;
    /** Passphrase of 16 characters or more (`ENCRYPTION_KEY`). */
    readonly key: string;
    /** 32 bytes in base64 (`KDF_SALT`). */
    readonly salt: string;
    /** Default 600,000. */
    readonly iterations?: number;
  };
  /** Keys that read and do not write. */
  readonly legacy?: readonly LegacyKey[];
  readonly cacheTtlMs?: number;
  /** Monotonic milliseconds. */
  readonly nowMs?: () => number;
  readonly derive?: typeof deriveKey;
}

export interface EncryptedValue {
  readonly ciphertext: string;
  /** For the row's `encryption_key_version`. */
  readonly keyVersion: number;
}

interface KeySource {
  readonly version: number;
  readonly profile: 'purser' | 'python';
  readonly passphrase: string;
  readonly salt: Buffer;
  readonly iterations: number;
}

export class EncryptionKeyManager {
  static readonly generateKey = generateKey;
  static readonly generateSalt = generateSalt;
  static readonly getOrCreateSalt = getOrCreateSalt;
  static readonly deriveKey = deriveKey;
  static readonly createFernet = createFernet;
  static readonly createMultiFernet = createMultiFernet;

  readonly #keys: ReadonlyMap<number, KeySource>;
  readonly #primary: KeySource;
  readonly #cache = new Map<number, { root: Promise<KeyObject>; expiresAtMs: number }>();
  readonly #cacheTtlMs: number;
  readonly #nowMs: () => number;
  readonly #derive: typeof deriveKey;

  /** @throws PurserError `encryption_key_invalid` or `kdf_*` (exit 78); nothing is derived yet */
  constructor(options: KeyringOptions) {
    this.#primary = primarySource(options.primary);
    const legacy = (options.legacy ?? []).map((key) => legacySource(key, this.#primary.salt));
    const sources = [this.#primary, ...legacy];
    this.#keys = new Map(sources.map((source) => [source.version, source]));
    if (this.#keys.size < sources.length) {
      throw keyInvalid('two keys have the same version: every key needs a number of its own');
    }
    this.#cacheTtlMs = options.cacheTtlMs ?? KEY_CACHE_TTL_MS;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#derive = options.derive ?? deriveKey;
  }

  /** Version of the key that writes. */
  get primaryVersion(): number {
    return this.#primary.version;
  }

  /** Versions that this process can read, ascending. */
  get versions(): number[] {
    return [...this.#keys.keys()].toSorted((a, b) => a - b);
  }

  /**
   * A v2 token of the value, bound to its context. The first call waits for the key's derivation.
   * @throws PurserError `plaintext_invalid`, `plaintext_too_large`, `encryption_context_invalid`
   */
  async encryptString(value: string, context: EncryptionContext): Promise<EncryptedValue> {
    assertContext(context);
    const plaintext = encodePlaintext(value);
    const keyVersion = this.#primary.version;
    const key = expandKey(await this.#root(this.#primary), sealedKeyInfo(context.purpose));
    return { ciphertext: seal(key, keyVersion, context, plaintext), keyVersion };
  }

  /**
   * The value of a v2 or Fernet token, by the key that wrote it. Tokens of profile `python` are not
   * bound to a place: they open in any, until they are encrypted again.
   * @throws PurserError `decryption_failed`, one and the same for every fault of the token;
   *   `encryption_context_invalid` for a fault of the caller
   */
  async decryptString(token: string, context: EncryptionContext): Promise<string> {
    assertContext(context);
    if (typeof token !== 'string') throw decryptionFailed();
    if (!claimsToBeSealed(token)) {
      // Before any derivation: rubbish must not cost PBKDF2 runs.
      parseFernet(token);
      return decodePlaintext((await this.getEncryptionFernet(context)).decrypt(token));
    }
    const sealed = parseSealed(token);
    const source = this.#keys.get(sealed.keyVersion);
    if (source === undefined || source.profile !== 'purser') throw decryptionFailed();
    const key = expandKey(await this.#root(source), sealedKeyInfo(context.purpose));
    return decodePlaintext(unseal(key, sealed, context));
  }

  /**
   * Fernet for exchange with other languages. Writes under a key of this tenant, column and purpose:
   * HKDF-SHA256 (no salt) of the PBKDF2 key, info = SHA-256 of `purser/fernet`, purpose, tenant and
   * column, each after its length as 32-bit big-endian. Reads legacy keys too.
   */
  async getEncryptionFernet(context: EncryptionContext): Promise<MultiFernet> {
    assertContext(context);
    const info = fernetKeyInfo(context);
    const fernets = [];
    for (const source of this.#keys.values()) {
      const root = await this.#root(source);
      const key = source.profile === 'python' ? root : expandKey(root, info);
      fernets.push(createFernet(key.export()));
    }
    return createMultiFernet(fernets);
  }

  /** Concurrent callers share one derivation; one that failed is forgotten at once. */
  #root(source: KeySource): Promise<KeyObject> {
    const nowMs = this.#nowMs();
    for (const [version, { expiresAtMs }] of this.#cache) {
      if (expiresAtMs <= nowMs) this.#cache.delete(version);
    }
    const cached = this.#cache.get(source.version);
    if (cached !== undefined) return cached.root;
    const root = this.#derive(source.passphrase, source.salt, source.iterations).then(
      (key) => createSecretKey(key),
      (error: unknown) => {
        this.#cache.delete(source.version);
        throw error;
      },
    );
    this.#cache.set(source.version, { root, expiresAtMs: nowMs + this.#cacheTtlMs });
    return root;
  }
}

function primarySource(primary: KeyringOptions['primary']): KeySource {
  const { version, key, iterations = KDF_ITERATIONS } = primary;
  if (!isKeyVersion(version)) throw keyInvalid('the version must be a whole number from 1');
  if (key.length < PASSPHRASE_MIN_CHARS || hasLoneSurrogate(key)) {
    throw keyInvalid(
      `ENCRYPTION_KEY must be text of ${PASSPHRASE_MIN_CHARS} characters or more: make one with \`purser keys generate-key\``,
    );
  }
  assertIterations(iterations);
  const salt = decodeSalt(primary.salt);
  return { version, profile: 'purser', passphrase: key, salt, iterations };
}

function legacySource(legacy: LegacyKey, environmentSalt: Buffer): KeySource {
  const { version, key, profile = 'purser', kdfVersion = version } = legacy;
  const python = profile === 'python';
  const iterations = legacy.iterations ?? (python ? KDF_ITERATIONS_MINIMUM : KDF_ITERATIONS);
  const salt = legacy.salt === undefined ? environmentSalt : decodeBase64(legacy.salt);
  if (!isKeyVersion(version) || key === '' || hasLoneSurrogate(key) || !salt?.length) {
    throw keyInvalid('a legacy key needs a version, a passphrase and, if given, a salt in base64');
  }
  assertIterations(iterations);
  return { version, profile, passphrase: python ? `${key}:v${kdfVersion}` : key, salt, iterations };
}

function keyInvalid(fault: string): PurserError {
  return new PurserError('encryption_key_invalid', `encryption keys: ${fault}`, {
    exitCode: exitCodes.configuration,
  });
}
