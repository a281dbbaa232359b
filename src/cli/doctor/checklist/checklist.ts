/**
 * `doctor --checklist`: the customer's go-live checklist, each item with its command here, what is expected
 * and what this deployment shows. What only a test can show names the test.
 */
import { EncryptionKeyManager } from '../../crypto/keyring.ts';
import { KDF_ITERATIONS, KDF_ITERATIONS_MINIMUM } from '../../crypto/derive.ts';
import { decodeSalt, KDF_SALT_LENGTH } from '../../crypto/salt.ts';
import type { Config } from '../../config.ts';
import { connect } from '../../db/connect.ts';
import { databaseItems } from './checklist-database.ts';
import type { ChecklistItem } from './checklist-database.ts';

const item = (
  section: string,
  name: string,
  command: string,
  expected: string,
  seen: string,
  met: boolean | undefined,
): ChecklistItem => ({ section, item: name, command, expected, seen, met });

const test = (name: string, command: string): ChecklistItem =>
  item('tests', name, command, 'passes', 'run the command in a clone', undefined);

/** Items that the environment and the code answer by themselves. */
function fromConfig(config: Config): ChecklistItem[] {
  const { KDF_SALT: salt, ENVIRONMENT: stage } = config;
  const first = EncryptionKeyManager.generateSalt();
  const random = first !== EncryptionKeyManager.generateSalt();
  const conf = 'configuration';
  const sec = 'security';
  return [
    item(
      conf,
      'KDF_SALT',
      'purser keys generate-salt',
      '44 characters of base64',
      salt === undefined ? 'not set' : `set, ${salt.length} characters`,
      salt?.length === 44,
    ),
    item(
      conf,
      'ENVIRONMENT',
      'echo $ENVIRONMENT',
      'development, staging or production',
      stage,
      true,
    ),
    item(
      conf,
      'DATABASE_URL',
      'purser doctor',
      'set',
      config.DATABASE_URL === undefined ? 'not set' : 'set',
      config.DATABASE_URL !== undefined,
    ),
    item(
      sec,
      'salt is random, never hardcoded',
      'purser keys generate-salt',
      'another one each time',
      random ? 'two differ' : 'two are equal',
      random,
    ),
    item(
      sec,
      'salt length',
      'purser keys generate-salt',
      '32 bytes',
      `${decodeSalt(first).length} bytes`,
      KDF_SALT_LENGTH === 32,
    ),
    item(
      sec,
      'PBKDF2 iterations',
      'npx vitest run -t test_kdf_iterations_exceeds_minimum',
      `at least ${KDF_ITERATIONS_MINIMUM}`,
      String(KDF_ITERATIONS),
      KDF_ITERATIONS >= KDF_ITERATIONS_MINIMUM,
    ),
    test('RLS enforcement', 'npx vitest run -t test_rls_'),
    test(
      'LLM budget, checked before the call',
      'npx vitest run test/budget/llm-budget-check.test.ts',
    ),
    test('job timeout', 'npx vitest run test/worker/job-timeout.test.ts'),
    test(
      'scheduler: one transaction, SKIP LOCKED, deadlock retry',
      'npx vitest run test/scheduler/scheduler-atomicity.test.ts',
    ),
    test('job tenant isolation', 'npx vitest run test/worker/job-tenant-isolation.test.ts'),
    test(
      'encryption salt management',
      'npx vitest run test/crypto/encryption-salt-management.test.ts',
    ),
    test('the full pipeline', 'npx vitest run -t test_full_pipeline_with_all_fixes'),
    test(
      'overhead under 100 ms per operation',
      'npx tsx bench/encryption.ts && npx tsx bench/budget.ts',
    ),
    test('everything, with coverage over 80 %', 'npm test'),
  ];
}

/** The whole checklist. Throws when the database is away or not migrated. */
export async function readChecklist(config: Config): Promise<ChecklistItem[]> {
  const own = fromConfig(config);
  if (config.DATABASE_URL === undefined) {
    const unseen = { seen: 'DATABASE_URL is not set', met: false };
    return [
      ...own,
      ...databaseItems.map(({ section, item, command, expected }) => ({
        section,
        item,
        command,
        expected,
        ...unseen,
      })),
    ];
  }
  const sql = connect(config.DATABASE_DIRECT_URL ?? config.DATABASE_URL, {
    max: 1,
    applicationName: 'purser doctor',
    tlsVerify: config.DATABASE_TLS_VERIFY,
  });
  try {
    const seen: ChecklistItem[] = [];
    for (const { look, ...rest } of databaseItems) seen.push({ ...rest, ...(await look(sql)) });
    return [...own, ...seen];
  } finally {
    await sql.end({ timeout: 5 });
  }
}
