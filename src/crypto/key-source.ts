/**
 * The input of key derivation: passphrases with their salts, validated before a key is derived.
 */
import { exitCodes, PurserError } from '../errors.ts';
import { decodeBase64 } from './base64.ts';
import { assertIterations, KDF_ITERATIONS, KDF_ITERATIONS_MINIMUM } from './derive.ts';
import { isKeyVersion } from './key-version.ts';
import type { LegacyKey } from './legacy-keys.ts';
import { decodeSalt } from './salt.ts';
import { hasLoneSurrogate } from './text.ts';

/** Shortest `ENCRYPTION_KEY` in characters. */
const PASSPHRASE_MIN_CHARS = 16;

/** Plain data, so that it can be posted to a thread. Contains secrets. */
export interface KeyringSource {
  readonly primary: {
    /** Identifies the key permanently: a new passphrase gets a new number. */
    readonly version: number;
    /** Passphrase of 16 characters or more (`ENCRYPTION_KEY`). */
    readonly key: string;
    /** 32 bytes in base64 (`KDF_SALT`). */
    readonly salt: string;
    /** Default 600,000. */
    readonly iterations?: number;
  };
  /** Keys that decrypt and never encrypt. */
  readonly legacy?: readonly LegacyKey[];
}

export interface KeySource {
  readonly version: number;
  readonly profile: 'purser' | 'python';
  readonly passphrase: string;
  readonly salt: Buffer;
  readonly iterations: number;
}

export function primarySource(primary: KeyringSource['primary']): KeySource {
  const { version, key, iterations = KDF_ITERATIONS } = primary;
  if (!isKeyVersion(version)) throw keyInvalid('the version must be a whole number from 1');
  if (key.length < PASSPHRASE_MIN_CHARS || hasLoneSurrogate(key)) {
    throw keyInvalid(
      `ENCRYPTION_KEY must be text of ${PASSPHRASE_MIN_CHARS} characters or more: generate one with \`purser keys generate-key\``,
    );
  }
  assertIterations(iterations);
  const salt = decodeSalt(primary.salt);
  return { version, profile: 'purser', passphrase: key, salt, iterations };
}

export function legacySource(legacy: LegacyKey, environmentSalt: Buffer): KeySource {
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

export function keyInvalid(fault: string): PurserError {
  return new PurserError('encryption_key_invalid', `encryption keys: ${fault}`, {
    exitCode: exitCodes.configuration,
  });
}
