/**
 * Payloads of jobs that the web role is given, checked and sealed as `purser enqueue` does: by the schema of the handler
 * where this process has it (the built-in types and PURSER_HANDLERS), which is loaded with the first one.
 */
import { requireBuiltins } from '../../builtins.ts';
import type { Config, KeyConfig } from '../../config.ts';
import { keyringSourceOf, keysOf } from '../../crypto/open-keyring.ts';
import type { OpenKeys } from '../../crypto/open-keyring.ts';
import type { Sql } from '../../db/connect.ts';
import { parsePayload } from '../../handlers/define.ts';
import { editedPayloads } from '../../handlers/edited-payload.ts';
import { openRegistry } from '../../handlers/index.ts';
import type { HandlerRegistry } from '../../handlers/index.ts';
import { payloadSealer } from '../../handlers/seal.ts';
import { listSecretPaths } from '../../jobs/key-versions.ts';
import type { PayloadDoor } from '../../web/payload-door.ts';

export type PayloadConfig = KeyConfig & Pick<Config, 'PURSER_HANDLERS' | 'PURSER_BUILTINS'>;

/** What failed is tried again. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
}

export function payloadDoor(config: PayloadConfig, sql: Sql): PayloadDoor {
  const { PURSER_HANDLERS, PURSER_BUILTINS } = config;
  const registry = once<HandlerRegistry>(() =>
    openRegistry(PURSER_HANDLERS, undefined, PURSER_BUILTINS),
  );
  const keys = once<OpenKeys>(async () => keysOf(await keyringSourceOf(config)));
  return {
    prepare: async (place, payload) => {
      const { jobType } = place;
      requireBuiltins(`a job of ${jobType}`, [jobType], PURSER_BUILTINS);
      const handler = (await registry()).get(jobType);
      if (handler !== undefined) await parsePayload(handler, payload);
      const paths = handler?.secretPaths ?? (await listSecretPaths(sql, jobType));
      if (paths.length === 0) return payload;
      return payloadSealer(sql, await keys())(place, payload, paths);
    },
    schemaOf: (tx) => async (jobType) => {
      const [handlers, open] = await Promise.all([registry(), keys()]);
      return editedPayloads(tx, (type) => handlers.get(type), open)(jobType);
    },
  };
}
