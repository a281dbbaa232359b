/** `purser keys generate-salt|generate-key|status|rotate`: the keys, from the first to the next. */
import { EncryptionKeyManager } from '../../crypto/keyring.ts';
import { openKeyring } from '../../crypto/open-keyring.ts';
import { exitCodes, PurserError } from '../../errors.ts';
import { startRotation } from '../../jobs/rotation.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { readKeyReport } from '../reports/key-report.ts';
import type { KeyReport, KeyStatus } from '../reports/key-report.ts';
import { byOption, byName } from '../terminal/audit-options.ts';
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
    return key.version === writeVersion ? 'writes' : 'writes when every process knows it';
  }
  if (!key.here && key.values > 0) return 'MISSING here: its values do not open';
  if (key.values > 0) return 'needed: purser keys rotate';
  if (key.primaryOf > 0) return `needed: ${key.primaryOf} of the processes would write with it`;
  return key.version === writeVersion
    ? 'needed: writes until every process knows a newer one'
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
  const by = byName(invocation);
  const config = invocation.config();
  const keyring = await openKeyring(config);
  return withDatabase(config, async ({ database }) => {
    const { primaryVersion, writeVersion, keys } = await readKeyReport(database.system, keyring);
    if (writeVersion !== primaryVersion) {
      const unaware = keys.find(({ version }) => version === primaryVersion)?.unknownTo ?? [];
      throw new PurserError(
        'key_not_everywhere',
        `key version ${primaryVersion} is not known to ${unaware.join(', ') || 'the fleet'}: restart every ` +
          'process with it (in LEGACY_ENCRYPTION_KEYS at least), then rotate',
      );
    }
    const started = await startRotation(database.system, primaryVersion, by);
    const result = { toVersion: primaryVersion, ...started };
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
  if (jobs === 0) return `every value is at key version ${toVersion} already`;
  const rest = underWay === 0 ? '' : `, ${underWay} of them under way already`;
  return (
    `${values} ${values === 1 ? 'value' : 'values'} to re-encrypt under key version ${toVersion}: ` +
    `${jobs} ${jobs === 1 ? 'job' : 'jobs'}${rest}; see purser keys status`
  );
}

export const keyCommands: readonly Command[] = [
  {
    path: 'keys generate-salt',
    summary: 'a random KDF_SALT: 32 bytes in base64',
    run: async ({ print }) => {
      print(EncryptionKeyManager.generateSalt());
      return Promise.resolve(exitCodes.ok);
    },
  },
  {
    path: 'keys generate-key',
    summary: 'a random ENCRYPTION_KEY',
    run: async ({ print }) => {
      print(EncryptionKeyManager.generateKey());
      return Promise.resolve(exitCodes.ok);
    },
  },
  {
    path: 'keys status',
    summary:
      'encrypted values per key version and table, which processes know each key, and which key is removable',
    options: { json: jsonOption },
    run: status,
  },
  {
    path: 'keys rotate',
    summary:
      're-encrypt everything under ENCRYPTION_KEY, by jobs in batches; refused until every process knows the key',
    options: { by: byOption, json: jsonOption },
    run: rotate,
  },
];
