/**
 * The one error of everything that does not open: a wrong key, another tenant's row, a changed byte
 * and plain rubbish look the same, so that the error teaches an attacker nothing.
 */
import { PurserError } from '../errors.ts';

/** A fresh `decryption_failed`. It carries neither cause nor details on purpose. */
export function decryptionFailed(): PurserError {
  return new PurserError(
    'decryption_failed',
    'an encrypted value does not open: it was changed, belongs to another row, or its key is not configured (see ENCRYPTION_KEY, KDF_SALT and LEGACY_ENCRYPTION_KEYS)',
  );
}
