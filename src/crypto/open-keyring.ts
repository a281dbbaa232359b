/**
 * The keys of a process, from its configuration. In development the salt comes from the data folder and is generated
 * at first use; in other environments it must be configured.
 */
import { loadKeyConfig } from '../config.ts';
import type { KeyConfig } from '../config.ts';
import { exitCodes, PurserError } from '../errors.ts';
import { EncryptionKeyManager } from './keyring.ts';
import type { KeyringSource } from './key-source.ts';
import { parseLegacyKeys } from './legacy-keys.ts';
import { getOrCreateSalt } from './salt.ts';

/** Returns the keys at first use. Throws `encryption_key_missing` (exit 78) if none is configured. */
export type OpenKeys = () => EncryptionKeyManager;

/** undefined without ENCRYPTION_KEY. Throws `kdf_salt_*` or `legacy_keys_invalid` (all exit 78). */
export async function keyringSourceOf(config: KeyConfig): Promise<KeyringSource | undefined> {
  const { ENCRYPTION_KEY: key, LEGACY_ENCRYPTION_KEYS: legacy } = config;
  if (key === undefined) return undefined;
  const salt = await getOrCreateSalt({
    environment: config.ENVIRONMENT,
    kdfSalt: config.KDF_SALT,
    dataDir: config.PURSER_DATA_DIR,
  });
  return {
    primary: { version: config.ENCRYPTION_KEY_VERSION, key, salt },
    legacy: legacy === undefined ? [] : parseLegacyKeys(legacy),
  };
}

/** One key manager, created at the first call. */
export function keysOf(source: KeyringSource | undefined): OpenKeys {
  let manager: EncryptionKeyManager | undefined;
  return () => {
    if (source === undefined) throw keyMissing();
    manager ??= new EncryptionKeyManager(source);
    return manager;
  };
}

/**
 * The keys that ENCRYPTION_KEY, ENCRYPTION_KEY_VERSION, KDF_SALT and LEGACY_ENCRYPTION_KEYS name.
 * Throws `invalid_configuration`, `encryption_key_missing`, `kdf_salt_*`, `legacy_keys_invalid` or
 * `encryption_key_invalid` (all exit 78).
 */
export async function openKeyring(config?: KeyConfig): Promise<EncryptionKeyManager> {
  return keysOf(await keyringSourceOf(config ?? loadKeyConfig()))();
}

function keyMissing(): PurserError {
  return new PurserError(
    'encryption_key_missing',
    'ENCRYPTION_KEY is not set, and secrets are stored only encrypted.\n' +
      '  Generate one with `purser keys generate-key`, and set it for every process.',
    { exitCode: exitCodes.configuration },
  );
}
