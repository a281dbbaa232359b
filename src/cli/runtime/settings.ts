/** The settings of a command or role, all of them checked, whether the command uses them or not. */
import { loadConfig } from '../../config.ts';
import type { Config } from '../../config.ts';
import { parseLegacyKeys } from '../../crypto/legacy-keys.ts';

/** Throws `invalid_configuration` or `legacy_keys_invalid` (exit 78). */
export function readSettings(env?: NodeJS.ProcessEnv): Config {
  const config = loadConfig(env);
  parseLegacyKeys(config.LEGACY_ENCRYPTION_KEYS ?? '');
  return config;
}
