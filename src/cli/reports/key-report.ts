/**
 * What `purser keys status` knows: which keys exist and who knows them, how many values each still opens, and
 * whether an old one may go.
 */
import type { EncryptionKeyManager } from '../../crypto/keyring.ts';
import type { Queryable } from '../../db/connect.ts';
import { keyVersionToWrite, listKeyHolders } from '../../jobs/key-versions.ts';
import type { KeyHolder } from '../../jobs/key-versions.ts';
import { countEncryptedValues } from '../../jobs/rotation.ts';
import type { EncryptedCount } from '../../jobs/rotation.ts';

export interface KeyStanding {
  readonly version: number;
  /** Whether this process, from its configuration, has the key. */
  readonly here: boolean;
  readonly values: number;
  /** Living processes with keys that do not know this one, or another one under its number. */
  readonly unknownTo: readonly string[];
  /** Living processes that would write with it. */
  readonly primaryOf: number;
  /**
   * No value needs it, of none it is unknown which key it needs, and nobody writes with it: it may leave
   * LEGACY_ENCRYPTION_KEYS everywhere.
   */
  readonly mayGo: boolean;
}

export interface KeyReport {
  readonly primaryVersion: number;
  /** undefined where this process and the fleet share no key. */
  readonly writeVersion: number | undefined;
  /** Living processes, and how many of them have keys at all. */
  readonly processes: number;
  readonly holders: number;
  readonly keys: readonly KeyStanding[];
  /** Values that stand in rows without a key version: any key may be theirs. */
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
    keys: [...versions].toSorted((a, b) => a - b).map((version) => standing(version, known)),
    unversioned,
    counts,
  };
}

interface Known {
  readonly marks: Readonly<Record<string, string>>;
  readonly holders: readonly KeyHolder[];
  readonly counts: readonly EncryptedCount[];
  readonly unversioned: number;
  /** What this process would write with, and what it writes with now. */
  readonly writing: readonly (number | undefined)[];
}

const valuesOf = (version: number | null, counts: readonly EncryptedCount[]): number =>
  counts
    .filter(({ keyVersion }) => keyVersion === version)
    .reduce((sum, count) => sum + count.values, 0);

function standing(version: number, known: Known): KeyStanding {
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
  const mayGo = values === 0 && unversioned === 0 && primaryOf === 0 && !writing.includes(version);
  return { version, here: mark !== undefined, values, unknownTo, primaryOf, mayGo };
}
