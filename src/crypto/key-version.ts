/**
 * A key version identifies one key permanently. It is stored in tokens and in `encryption_key_version` columns, so
 * a number must never be reused for another key.
 */

/** Maximum of the integer column that stores it. */
const KEY_VERSION_MAX = 2_147_483_647;

/** Whether a value is a whole number from 1 to 2^31-1. */
export function isKeyVersion(value: unknown): value is number {
  return (
    typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= KEY_VERSION_MAX
  );
}
