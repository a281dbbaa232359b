/**
 * Which key may write. A new key writes only after every process can read with it: heartbeats list the keys of
 * each process, and a process counts for 60 s after its last heartbeat. Code that encrypts for the fleet asks here.
 */
import type { EncryptionKeyManager } from '../crypto/keyring.ts';
import type { Queryable } from '../db/connect.ts';
import { PurserError } from '../errors.ts';
import { runOn } from './connection.ts';
import type { Connection } from './connection.ts';

/**
 * The primary version if every process seen in the last 60 s has that same key, otherwise the newest version that all have.
 * Throws `encryption_keys_differ` where this process and the fleet share no key.
 */
export async function keyVersionToWrite(
  connection: Connection,
  keyring: EncryptionKeyManager,
): Promise<number> {
  const marks = JSON.stringify(await keyring.marks('writing'));
  const [row] = await runOn<{ version: number | null }>(
    connection,
    'select purser.key_version_to_write($1::text::jsonb, $2::int) as version',
    [marks, keyring.primaryVersion],
  );
  if (row?.version === null || row === undefined) {
    throw new PurserError(
      'encryption_keys_differ',
      'no key of this process is known to every process of the fleet, which could not read what it wrote: give ' +
        'it the same ENCRYPTION_KEY, ENCRYPTION_KEY_VERSION and KDF_SALT (see purser keys status)',
    );
  }
  return row.version;
}

/** Secret fields of a registered job type; none for a type that is not there. */
export async function listSecretPaths(connection: Connection, jobType: string): Promise<string[]> {
  const [row] = await runOn<{ paths: string[] }>(
    connection,
    'select secret_paths as paths from public.job_types where job_type = $1',
    [jobType],
  );
  return row?.paths ?? [];
}

export interface KeyHolder {
  readonly processId: string;
  readonly role: string;
  /** By version, the mark of its key; empty without ENCRYPTION_KEY. */
  readonly knownKeys: Readonly<Record<string, string>>;
  readonly primaryVersion: number | null;
}

/** Processes seen in the last 60 s, with their keys. */
export async function listKeyHolders(sql: Queryable): Promise<KeyHolder[]> {
  return sql<KeyHolder[]>`
    select process_id as "processId", role, known_keys as "knownKeys",
           primary_key_version as "primaryVersion"
    from public.heartbeats where beat_at > now() - interval '60 seconds' order by role, process_id`;
}
