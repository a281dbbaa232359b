/**
 * A key version names one key for good: it stands in tokens and in `encryption_key_version` columns,
 * so a number is never used again for another key.
 */

/** Largest value of the integer column that keeps it. */
const KEY_VERSION_MAX = 2_147_483_647;

/** Whether a value is a whole number from 1 to 2^31-1. */
export function isKeyVersion(value: unknown): value is number {
  return (
    typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= KEY_VERSION_MAX
  );
}
