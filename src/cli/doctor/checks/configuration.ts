/** Checks that need the configuration only. */
import type { Config } from '../../../config.ts';
import { nearVariables, nearVariableText } from '../../runtime/near-variables.ts';
import { openKeyring } from '../../../crypto/open-keyring.ts';
import { fail, ok, warn } from './finding.ts';
import type { CheckResult } from './finding.ts';

/** Encrypts and decrypts a text. */
export async function checkKeys(config: Config): Promise<CheckResult> {
  const { ENCRYPTION_KEY: key, KDF_SALT: salt } = config;
  if (key === undefined || salt === undefined) {
    return warn(
      'ENCRYPTION_KEY or KDF_SALT is not set: credentials cannot be stored',
      'purser keys generate-key and purser keys generate-salt; keep both in your secret store',
    );
  }
  const manager = await openKeyring(config);
  const context = { tenantId: 'doctor', column: 'doctor.check', purpose: 'generic' } as const;
  const { ciphertext } = await manager.encryptString('round trip', context);
  if ((await manager.decryptString(ciphertext, context)) !== 'round trip') {
    return fail(
      'decryption returned a different text than was encrypted',
      'check ENCRYPTION_KEY and KDF_SALT',
    );
  }
  return ok(`version ${config.ENCRYPTION_KEY_VERSION} encrypts and decrypts`);
}

/** Variables near the name of one that is not set. */
export function checkVariables(env?: NodeJS.ProcessEnv): CheckResult {
  const near = nearVariables(env);
  if (near.length === 0) return ok('no variable is near the name of one that is not set');
  return warn(
    near.map(nearVariableText).join('\n      '),
    `rename ${near.map(({ name, meant }) => `${name} to ${meant}`).join(', ')}`,
  );
}

export function checkDashboard(config: Config): CheckResult {
  return config.DASHBOARD_PASSWORD === undefined
    ? warn(
        'DASHBOARD_PASSWORD is not set: web generates a password at each start',
        'set DASHBOARD_USER and DASHBOARD_PASSWORD',
      )
    : ok('a login is configured');
}
