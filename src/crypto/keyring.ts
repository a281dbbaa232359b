/**
 * The keys of one process: the primary key encrypts, all keys decrypt. Keys are derived off the event loop and cached
 * for a limited time, so encryption takes microseconds. No key, salt or passphrase can be read from outside, neither
 * by printing nor by serialising the object.
 */
import { createSecretKey, type KeyObject } from 'node:crypto';
import { codeOf } from '../errors.ts';
import { assertContext, fernetKeyInfo, sealedKeyInfo, type EncryptionContext } from './context.ts';
import { decryptionFailed } from './decryption-failed.ts';
import { deriveKey, expandKey, generateKey } from './derive.ts';
import { createFernet, createMultiFernet, parseFernet, type MultiFernet } from './fernet.ts';
import { keyInvalid, legacySource, primarySource } from './key-source.ts';
import type { KeySource, KeyringSource } from './key-source.ts';
import { generateSalt, getOrCreateSalt } from './salt.ts';
import { secretWatch } from './secrets/watch.ts';
import { claimsToBeSealed, parseSealed, seal, unseal } from './sealed-token.ts';
import { decodePlaintext, encodePlaintext } from './text.ts';

/** How long a derived key is cached. */
export const KEY_CACHE_TTL_MS = 3_600_000;
/** 48 bits distinguish keys. They are HKDF output of a key whose guess costs 600,000 iterations. */
const KEY_MARK_BYTES = 6;
const keyMarkInfo = Buffer.from('purser/key-mark', 'utf8');

export interface KeyringOptions extends KeyringSource {
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

  /** @throws PurserError `encryption_key_invalid` or `kdf_*` (exit 78); no key is derived yet */
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

  /** Version of the key that encrypts. */
  get primaryVersion(): number {
    return this.#primary.version;
  }

  /** Versions that this process can decrypt, ascending. */
  get versions(): number[] {
    return [...this.#keys.keys()].toSorted((a, b) => a - b);
  }

  /**
   * By version, a mark that is equal in two processes exactly when they have the same key, and that reveals nothing
   * about it; of all keys, or only of those that can encrypt.
   */
  async marks(of: 'all' | 'writing' = 'all'): Promise<Record<string, string>> {
    const marks: Record<string, string> = {};
    for (const source of this.#keys.values()) {
      if (of === 'writing' && source.profile !== 'purser') continue;
      const mark = expandKey(await this.#root(source), keyMarkInfo).export();
      marks[source.version] = mark.subarray(0, KEY_MARK_BYTES).toString('hex');
    }
    return marks;
  }

  /**
   * A v2 token of the value, bound to its context. The first call waits for the key's derivation.
   * `keyVersion`: the key to encrypt with; default the primary.
   * @throws PurserError `plaintext_invalid`, `plaintext_too_large`, `encryption_context_invalid`;
   *   `encryption_key_invalid` for a version that cannot encrypt
   */
  async encryptString(
    value: string,
    context: EncryptionContext,
    keyVersion: number = this.#primary.version,
  ): Promise<EncryptedValue> {
    assertContext(context);
    const plaintext = encodePlaintext(value);
    const source = this.#keys.get(keyVersion);
    if (source?.profile !== 'purser') throw keyInvalid(`version ${keyVersion} cannot encrypt`);
    const key = expandKey(await this.#root(source), sealedKeyInfo(context.purpose));
    return { ciphertext: seal(key, keyVersion, context, plaintext), keyVersion };
  }

  /**
   * The same value under the key `keyVersion`, without reporting it to the secret watch.
   * @throws as `decryptString` and `encryptString`
   */
  async reencrypt(
    token: string,
    context: EncryptionContext,
    keyVersion: number,
  ): Promise<EncryptedValue> {
    return this.encryptString(await this.#open(token, context), context, keyVersion);
  }

  /**
   * The value of a v2 or Fernet token, decrypted by the key that encrypted it. Tokens of profile `python` are not
   * bound to a context: they decrypt in any, until they are re-encrypted.
   * @throws PurserError `decryption_failed`, the same error for every fault of the token;
   *   `encryption_context_invalid` for an error of the caller
   */
  async decryptString(token: string, context: EncryptionContext): Promise<string> {
    const value = await this.#open(token, context);
    secretWatch.getStore()?.opened(value);
    return value;
  }

  async #open(token: string, context: EncryptionContext): Promise<string> {
    assertContext(context);
    try {
      return await this.#opened(token, context);
    } catch (error) {
      if (codeOf(error) === 'decryption_failed') secretWatch.getStore()?.failed(context.column);
      throw error;
    }
  }

  async #opened(token: string, context: EncryptionContext): Promise<string> {
    if (typeof token !== 'string') throw decryptionFailed();
    if (!claimsToBeSealed(token)) {
      // Before any derivation: malformed text must not cost PBKDF2 runs.
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

  /** Concurrent callers share one derivation; a failed one is not cached. */
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
