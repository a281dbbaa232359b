/**
 * The only error of decryption. A wrong key, another tenant's row, a changed byte and malformed text give the same
 * error, so that it tells an attacker nothing.
 */
import { PurserError } from '../errors.ts';

/** A fresh `decryption_failed`. It deliberately has neither cause nor details. */
export function decryptionFailed(): PurserError {
  return new PurserError(
    'decryption_failed',
    'an encrypted value cannot be decrypted: it was changed, belongs to another row, or its key is not configured (see ENCRYPTION_KEY, KDF_SALT and LEGACY_ENCRYPTION_KEYS)',
  );
}
