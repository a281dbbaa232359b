/**
 * The keys of this process, from configuration. In development the salt is the one in the data folder, made
 * at its first use; elsewhere nothing is made up.
 */
import type { Config } from '../config.ts';
import { EncryptionKeyManager } from '../crypto/keyring.ts';
import { parseLegacyKeys } from '../crypto/legacy-keys.ts';
import { getOrCreateSalt } from '../crypto/salt.ts';
import { exitCodes, PurserError } from '../errors.ts';

/** Throws `invalid_configuration`, `kdf_salt_*`, `legacy_keys_invalid` or `encryption_key_invalid` (all exit 78). */
export async function openKeyring(config: Config): Promise<EncryptionKeyManager> {
  const { ENCRYPTION_KEY: key, LEGACY_ENCRYPTION_KEYS: legacy } = config;
  if (key === undefined) {
    throw new PurserError(
      'invalid_configuration',
      'ENCRYPTION_KEY is not set, and credentials are stored encrypted or not at all.\n' +
        '  Make one with `purser keys generate-key`, and set it for every process.',
      { exitCode: exitCodes.configuration },
    );
  }
  const salt = await getOrCreateSalt({
    environment: config.ENVIRONMENT,
    kdfSalt: config.KDF_SALT,
    dataDir: config.PURSER_DATA_DIR,
  });
  return new EncryptionKeyManager({
    primary: { version: config.ENCRYPTION_KEY_VERSION, key, salt },
    legacy: legacy === undefined ? [] : parseLegacyKeys(legacy),
  });
}
