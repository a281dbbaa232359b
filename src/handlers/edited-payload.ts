/** What an edited payload is checked by: the schema of its handler, with the keys of its secret fields. */
import type { OpenKeys } from '../crypto/open-keyring.ts';
import { openFields } from '../crypto/secrets/fields.ts';
import type { PayloadPlace } from '../crypto/secrets/fields.ts';
import type { Connection } from '../jobs/connection.ts';
import { parsePayload } from './define.ts';
import type { Handler } from './define.ts';
import { payloadSealer } from './seal.ts';

/**
 * Of a job type that `handlerOf` knows: checks a payload, whose secret fields are encrypted or new, and returns it as it is
 * stored. Throws `invalid_payload`, `decryption_failed` and as `payloadSealer`.
 */
export function editedPayloads(
  connection: Connection,
  handlerOf: (jobType: string) => Handler | undefined,
  openKeys: OpenKeys,
) {
  const seal = payloadSealer(connection, openKeys);
  return async (jobType: string) => {
    const handler = handlerOf(jobType);
    if (handler === undefined) return undefined;
    const { secretPaths: paths } = handler;
    return async (place: PayloadPlace, payload: object): Promise<object> => {
      if (paths.length === 0) {
        await parsePayload(handler, payload);
        return payload;
      }
      const opened = await openFields(payload, paths, place, openKeys);
      await parsePayload(handler, opened);
      if (opened === null || typeof opened !== 'object') throw new Error('a payload is an object');
      return seal(place, opened, paths);
    };
  };
}
