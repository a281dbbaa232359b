/**
 * Encrypts the fields of a payload that its schema marks as secret, before it is stored, under the key version
 * that the whole fleet can read.
 */
import type { OpenKeys } from '../crypto/open-keyring.ts';
import { hasSecrets, sealFields } from '../crypto/secrets/fields.ts';
import type { PayloadPlace, SecretPath } from '../crypto/secrets/fields.ts';
import type { Connection } from '../jobs/connection.ts';
import { keyVersionToWrite } from '../jobs/key-versions.ts';

export type SealPayload = (
  place: PayloadPlace,
  payload: object,
  paths: readonly SecretPath[],
) => Promise<object>;

/**
 * The returned function looks up the key version once for all payloads of a call, and only when there is something
 * to encrypt. It throws `encryption_key_missing` or `encryption_keys_differ`.
 */
export function payloadSealer(connection: Connection, openKeys: OpenKeys): SealPayload {
  let version: Promise<number> | undefined;
  return async (place, payload, paths) => {
    if (paths.length === 0) return payload;
    const plain = asStored(payload);
    if (plain === undefined || !(await hasSecrets(plain, paths))) return payload;
    const keyring = openKeys();
    version ??= keyVersionToWrite(connection, keyring);
    return sealFields(plain, paths, { ...place, keyring, keyVersion: await version });
  };
}

/** The payload as it will be stored: dates as text, toJSON applied. undefined if it is not a JSON object. */
function asStored(payload: object): object | undefined {
  try {
    const plain: unknown = JSON.parse(JSON.stringify(payload));
    return plain !== null && typeof plain === 'object' ? plain : undefined;
  } catch {
    // The enqueue refuses it with its reason.
    return undefined;
  }
}
