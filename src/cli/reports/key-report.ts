/**
 * The report behind `purser keys status`: the keys, the processes that know each, the number of values that need
 * each, and whether an old key can be removed.
 */
import type { EncryptionKeyManager } from '../../crypto/keyring.ts';
import type { Queryable } from '../../db/connect.ts';
import { keyVersionToWrite, listKeyHolders } from '../../jobs/key-versions.ts';
import type { KeyHolder } from '../../jobs/key-versions.ts';
import { countEncryptedValues } from '../../jobs/rotation.ts';
import type { EncryptedCount } from '../../jobs/rotation.ts';

export interface KeyStatus {
  readonly version: number;
  /** Whether this process has the key in its configuration. */
  readonly here: boolean;
  readonly values: number;
  /** Processes seen in the last 60 s that have keys but not this one, or that have another key of this version. */
  readonly unknownTo: readonly string[];
  /** Number of processes seen in the last 60 s whose primary key it is. */
  readonly primaryOf: number;
  /**
   * Every value's key version is known, no value needs this key, and no process writes with it: it can be deleted
   * from LEGACY_ENCRYPTION_KEYS everywhere.
   */
  readonly removable: boolean;
}

export interface KeyReport {
  readonly primaryVersion: number;
  /** undefined when this process and the fleet have no key in common. */
  readonly writeVersion: number | undefined;
  /** Processes seen in the last 60 s. */
  readonly processes: number;
  /** Those of them that have any key. */
  readonly holders: number;
  readonly keys: readonly KeyStatus[];
  /** Values in rows without a key version: any key may be needed for them. */
  readonly unversioned: number;
  readonly counts: readonly EncryptedCount[];
}

export async function readKeyReport(
  sql: Parameters<typeof keyVersionToWrite>[0] & Queryable,
  keyring: EncryptionKeyManager,
): Promise<KeyReport> {
  const [processes, counts, marks] = [
    await listKeyHolders(sql),
    await countEncryptedValues(sql),
    await keyring.marks(),
  ];
  const holders = processes.filter(({ knownKeys }) => Object.keys(knownKeys).length > 0);
  const versions = new Set([
    ...Object.keys(marks).map(Number),
    ...counts.flatMap(({ keyVersion }) => keyVersion ?? []),
    ...holders.flatMap(({ knownKeys }) => Object.keys(knownKeys).map(Number)),
  ]);
  const { primaryVersion } = keyring;
  const writeVersion = await keyVersionToWrite(sql, keyring).catch(() => undefined);
  const unversioned = valuesOf(null, counts);
  const known = { marks, holders, counts, unversioned, writing: [primaryVersion, writeVersion] };
  return {
    primaryVersion,
    writeVersion,
    processes: processes.length,
    holders: holders.length,
    keys: [...versions].toSorted((a, b) => a - b).map((version) => statusOf(version, known)),
    unversioned,
    counts,
  };
}

interface Known {
  readonly marks: Readonly<Record<string, string>>;
  readonly holders: readonly KeyHolder[];
  readonly counts: readonly EncryptedCount[];
  readonly unversioned: number;
  /** This process's primary key, and the key that it writes with now. */
  readonly writing: readonly (number | undefined)[];
}

const valuesOf = (version: number | null, counts: readonly EncryptedCount[]): number =>
  counts
    .filter(({ keyVersion }) => keyVersion === version)
    .reduce((sum, count) => sum + count.values, 0);

function statusOf(version: number, known: Known): KeyStatus {
  const { marks, holders, counts, unversioned, writing } = known;
  const mark = marks[version];
  const values = valuesOf(version, counts);
  const primaryOf = holders.filter((holder) => holder.primaryVersion === version).length;
  const unknownTo = holders
    .filter(
      ({ knownKeys }) =>
        knownKeys[version] === undefined || (mark ?? knownKeys[version]) !== knownKeys[version],
    )
    .map(({ processId }) => processId);
  const removable =
    values === 0 && unversioned === 0 && primaryOf === 0 && !writing.includes(version);
  return { version, here: mark !== undefined, values, unknownTo, primaryOf, removable };
}
