/** Items measured on the configuration: variables that must be set, and the strength of the keys. */
import type { Config } from '../../../config.ts';
import { KDF_ITERATIONS_MINIMUM } from '../../../crypto/derive.ts';
import { legacySource, primarySource } from '../../../crypto/key-source.ts';
import { EncryptionKeyManager } from '../../../crypto/keyring.ts';
import { parseLegacyKeys } from '../../../crypto/legacy-keys.ts';
import { decodeSalt, KDF_SALT_LENGTH } from '../../../crypto/salt.ts';
import type { ItemDefinition, Measurement } from './item.ts';

const saltCharacters = 44;
const notSet: Measurement = { seen: 'not set', met: false };

export const configurationItems: readonly ItemDefinition[] = [
  {
    section: 'configuration',
    item: 'KDF_SALT',
    command: 'purser keys generate-salt',
    expected: `${saltCharacters} characters of base64`,
    measure: ({ config: { KDF_SALT: salt } }) =>
      salt === undefined
        ? notSet
        : { seen: `set, ${salt.length} characters`, met: salt.length === saltCharacters },
  },
  {
    section: 'configuration',
    item: 'ENVIRONMENT',
    command: 'echo $ENVIRONMENT',
    expected: 'set to development, staging or production',
    measure: ({ config }) => {
      const set = config.setVariables.has('ENVIRONMENT');
      const stage = config.ENVIRONMENT;
      return { seen: set ? stage : `not set, so ${stage} by default`, met: set };
    },
  },
  {
    section: 'configuration',
    item: 'DATABASE_URL',
    command: 'purser doctor',
    expected: 'set',
    measure: ({ config }) =>
      config.DATABASE_URL === undefined ? notSet : { seen: 'set', met: true },
  },
  {
    section: 'security',
    item: 'salt is random, never hardcoded',
    command: 'purser keys generate-salt',
    expected: 'a different salt each time',
    measure: () => {
      const differ = EncryptionKeyManager.generateSalt() !== EncryptionKeyManager.generateSalt();
      return { seen: `two generated salts ${differ ? 'differ' : 'are equal'}`, met: differ };
    },
  },
  {
    section: 'security',
    item: 'salt length',
    command: 'purser keys generate-salt',
    expected: `${KDF_SALT_LENGTH} bytes`,
    measure: ({ config: { KDF_SALT: salt } }) => {
      if (salt === undefined) return notSet;
      const bytes = decodeSalt(salt).length;
      return { seen: `${bytes} bytes`, met: bytes === KDF_SALT_LENGTH };
    },
  },
  {
    section: 'security',
    item: 'PBKDF2 iterations',
    command: 'npx vitest run -t test_kdf_iterations_exceeds_minimum',
    expected: `at least ${KDF_ITERATIONS_MINIMUM}`,
    measure: ({ config }) => {
      const fewest = fewestIterations(config);
      if (fewest === undefined)
        return { seen: 'ENCRYPTION_KEY or KDF_SALT is not set', met: false };
      return { seen: `${fewest} at the weakest key`, met: fewest >= KDF_ITERATIONS_MINIMUM };
    },
  },
];

/** The fewest iterations of any key of this configuration; undefined without keys. */
function fewestIterations(config: Config): number | undefined {
  const { ENCRYPTION_KEY: key, KDF_SALT: salt } = config;
  if (key === undefined || salt === undefined) return undefined;
  const primary = primarySource({ version: config.ENCRYPTION_KEY_VERSION, key, salt });
  const legacy = parseLegacyKeys(config.LEGACY_ENCRYPTION_KEYS ?? '').map((legacyKey) =>
    legacySource(legacyKey, primary.salt),
  );
  return Math.min(...[primary, ...legacy].map(({ iterations }) => iterations));
}
