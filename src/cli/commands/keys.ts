/** `purser keys generate-salt|generate-key|status|rotate`: encryption keys and their rotation. */
import { EncryptionKeyManager } from '../../crypto/keyring.ts';
import { openKeyring } from '../../crypto/open-keyring.ts';
import { exitCodes, PurserError } from '../../errors.ts';
import { rotateKeysAs } from '../../operations/keys.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { readKeyReport } from '../reports/key-report.ts';
import type { KeyReport, KeyStatus } from '../reports/key-report.ts';
import { actOf, actOptions } from '../terminal/operator-options.ts';
import { formatTable } from '../terminal/table.ts';
import { withDatabase } from '../runtime/with-database.ts';

function knownTo({ unknownTo }: KeyStatus, { holders }: KeyReport): string {
  if (holders === 0) return 'no process with keys was seen in the last 60 s';
  return unknownTo.length === 0 ? `all ${holders}` : `all but ${unknownTo.join(', ')}`;
}

function nextStep(key: KeyStatus, report: KeyReport): string {
  const { primaryVersion, writeVersion } = report;
  if (key.removable) return 'removable: delete it from LEGACY_ENCRYPTION_KEYS everywhere';
  if (key.version === primaryVersion) {
    return key.version === writeVersion ? 'writes' : 'writes once every process has it';
  }
  if (!key.here && key.values > 0) return 'MISSING here: its values cannot be decrypted';
  if (key.values > 0) return 'needed: purser keys rotate';
  if (key.primaryOf > 0) return `needed: the primary key of ${key.primaryOf} processes`;
  return key.version === writeVersion
    ? 'needed: writes until every process has a newer one'
    : 'needed: rows without a key version may need it, purser keys rotate';
}

async function status(invocation: Invocation): Promise<number> {
  const config = invocation.config();
  const keyring = await openKeyring(config);
  return withDatabase(config, async ({ database }) => {
    const report = await readKeyReport(database.system, keyring);
    if (invocation.flag('json')) {
      invocation.print(JSON.stringify(report));
      return exitCodes.ok;
    }
    invocation.print(
      formatTable(
        ['key version', 'values', 'known to', 'status'],
        report.keys.map((key) => [
          key.version,
          key.values,
          knownTo(key, report),
          nextStep(key, report),
        ]),
        120,
      ),
    );
    if (report.counts.length > 0) {
      invocation.print('');
      invocation.print(
        formatTable(
          ['place', 'key version', 'values'],
          report.counts.map(({ place, keyVersion, values }) => [place, keyVersion, values]),
        ),
      );
    }
    return exitCodes.ok;
  });
}

async function rotate(invocation: Invocation): Promise<number> {
  const { operator, reason } = actOf(invocation);
  const config = invocation.config();
  const keyring = await openKeyring(config);
  return withDatabase(config, async ({ database }) => {
    const { primaryVersion, writeVersion, keys } = await readKeyReport(database.system, keyring);
    if (writeVersion !== primaryVersion) {
      const withoutKey = keys.find(({ version }) => version === primaryVersion)?.unknownTo ?? [];
      throw new PurserError(
        'key_not_everywhere',
        `these processes do not have key version ${primaryVersion}: ${withoutKey.join(', ') || 'all'}; restart them ` +
          'with it (at least in LEGACY_ENCRYPTION_KEYS), then rotate',
      );
    }
    const { jobs, underWay, values } = await rotateKeysAs(database.system, operator, {
      toVersion: primaryVersion,
      reason,
    });
    const result = { toVersion: primaryVersion, jobs, underWay, values };
    if (invocation.flag('json')) invocation.print(JSON.stringify(result));
    else invocation.print(describeStart(result));
    return exitCodes.ok;
  });
}

function describeStart(result: {
  toVersion: number;
  jobs: number;
  underWay: number;
  values: number;
}) {
  const { toVersion, jobs, underWay, values } = result;
  if (jobs === 0) return `every value already has key version ${toVersion}`;
  const rest = underWay === 0 ? '' : `, ${underWay} of them already running`;
  return (
    `${values} ${values === 1 ? 'value' : 'values'} to re-encrypt under key version ${toVersion}: ` +
    `${jobs} ${jobs === 1 ? 'job' : 'jobs'}${rest}; see purser keys status`
  );
}

export const keyCommands: readonly Command[] = [
  {
    path: 'keys generate-salt',
    summary: 'print a random KDF_SALT: 32 bytes in base64',
    run: async ({ print }) => {
      print(EncryptionKeyManager.generateSalt());
      return Promise.resolve(exitCodes.ok);
    },
  },
  {
    path: 'keys generate-key',
    summary: 'print a random ENCRYPTION_KEY',
    run: async ({ print }) => {
      print(EncryptionKeyManager.generateKey());
      return Promise.resolve(exitCodes.ok);
    },
  },
  {
    path: 'keys status',
    summary:
      'count encrypted values per key version and table, and list which processes have each key and which keys can be removed',
    options: { json: jsonOption },
    run: status,
  },
  {
    path: 'keys rotate',
    summary:
      're-encrypt all values under ENCRYPTION_KEY, in background jobs; refused until every process has the key',
    options: { ...actOptions, json: jsonOption },
    run: rotate,
  },
];
