/**
 * `LEGACY_ENCRYPTION_KEYS`: the keys that decrypt and never encrypt, as a JSON array. Errors name entry and field;
 * no message contains a part of the value, which is secret.
 */
import { exitCodes, PurserError } from '../errors.ts';
import { decodeBase64 } from './base64.ts';
import { KDF_ITERATIONS_MAXIMUM, KDF_ITERATIONS_MINIMUM } from './derive.ts';
import { isKeyVersion } from './key-version.ts';
import { hasLoneSurrogate } from './text.ts';

export interface LegacyKey {
  /** Identifies the key permanently; stored in `encryption_key_version` of its rows. */
  readonly version: number;
  /** The passphrase. */
  readonly key: string;
  /** Base64 of the salt's bytes, of any length. Default: the environment's `KDF_SALT`. */
  readonly salt?: string;
  /** PBKDF2 iterations. Default: 600,000; for profile `python` 100,000. */
  readonly iterations?: number;
  /**
   * What was encrypted with it. `purser` (default): v2 and Fernet tokens of this program. `python`: Fernet
   * tokens of the earlier Python service, whose key is PBKDF2 of `<key>:v<kdfVersion>`.
   */
  readonly profile?: 'purser' | 'python';
  /** Number in `<key>:v<kdfVersion>`, for profile `python` only. Default: `version`. */
  readonly kdfVersion?: number;
}

const example = `[{"version":1,"key":"the earlier passphrase"}]`;
const fields = new Set(['version', 'key', 'salt', 'iterations', 'profile', 'kdfVersion']);

/**
 * Parses the variable; empty or blank means no legacy keys.
 * @throws PurserError `legacy_keys_invalid` (exit 78) naming every fault
 */
export function parseLegacyKeys(text: string): LegacyKey[] {
  if (text.trim() === '') return [];
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text.
    throw invalid(['is not valid JSON']);
  }
  if (!Array.isArray(parsed)) throw invalid(['is not a JSON array']);
  const entries: readonly unknown[] = parsed;
  const faults = entries.flatMap((entry, index) =>
    faultsOf(entry).map((fault) => `entry ${index + 1}: ${fault}`),
  );
  const keys = entries.filter((entry) => isLegacyKey(entry));
  const versions = keys.map((key) => key.version);
  for (const version of new Set(versions.filter((v, i) => versions.indexOf(v) !== i))) {
    faults.push(`version ${version} is given more than once`);
  }
  if (faults.length > 0) throw invalid(faults);
  return keys;
}

function isLegacyKey(entry: unknown): entry is LegacyKey {
  return faultsOf(entry).length === 0;
}

function faultsOf(entry: unknown): string[] {
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) {
    return ['is not an object'];
  }
  const { version, key, salt, iterations, profile, kdfVersion }: Partial<Record<string, unknown>> =
    { ...entry };
  const faults: string[] = [];
  if (Object.keys(entry).some((name) => !fields.has(name))) {
    faults.push(`has a field other than ${[...fields].join(', ')}`);
  }
  if (!isKeyVersion(version)) faults.push('version must be a whole number from 1');
  if (typeof key !== 'string' || key === '' || hasLoneSurrogate(key)) {
    faults.push('key must be a non-empty string');
  }
  if (salt !== undefined && (typeof salt !== 'string' || !decodeBase64(salt)?.length)) {
    faults.push('salt must be base64 with padding');
  }
  if (iterations !== undefined && !isIterationCount(iterations)) {
    faults.push(
      `iterations must be a whole number from ${KDF_ITERATIONS_MINIMUM} to ${KDF_ITERATIONS_MAXIMUM}`,
    );
  }
  if (profile !== undefined && profile !== 'purser' && profile !== 'python') {
    faults.push('profile must be purser or python');
  }
  if (kdfVersion !== undefined && (profile !== 'python' || !isKeyVersion(kdfVersion))) {
    faults.push('kdfVersion must be a whole number from 1, and only with profile python');
  }
  return faults;
}

function isIterationCount(value: unknown): boolean {
  return (
    typeof value === 'number' &&
    Number.isInteger(value) &&
    value >= KDF_ITERATIONS_MINIMUM &&
    value <= KDF_ITERATIONS_MAXIMUM
  );
}

function invalid(faults: readonly string[]): PurserError {
  return new PurserError(
    'legacy_keys_invalid',
    `LEGACY_ENCRYPTION_KEYS ${faults.join('; ')} (example: ${example})`,
    { exitCode: exitCodes.configuration, details: { faults } },
  );
}
