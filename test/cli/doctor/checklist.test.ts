/** `doctor --checklist` on a real database: every item is measured, none is assumed. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readChecklist } from '../../../src/cli/doctor/checklist/checklist.ts';
import { loadConfig } from '../../../src/config.ts';
import { generateSalt } from '../../../src/crypto/salt.ts';
import { emptyDatabase, freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
let configured: Record<string, string>;
beforeAll(async () => {
  database = await freshDatabase();
  configured = {
    ENVIRONMENT: 'staging',
    DATABASE_URL: database.url,
    KDF_SALT: generateSalt(),
    ENCRYPTION_KEY: 'a passphrase of some length',
  };
});
afterAll(async () => {
  await database.close();
});

async function unmetItems(env: NodeJS.ProcessEnv): Promise<string[]> {
  const items = await readChecklist(loadConfig(env));
  return items.filter(({ met }) => met === false).map(({ item }) => item);
}

test('a migrated, configured deployment meets every item that can be measured', async () => {
  const items = await readChecklist(loadConfig(configured));
  expect(items.filter(({ met }) => met === false)).toEqual([]);
  expect(items.filter(({ met }) => met === true).length).toBeGreaterThanOrEqual(13);
  expect(items.every(({ command, expected, seen }) => `${command}${expected}${seen}` !== '')).toBe(
    true,
  );
});

test('an item that a variable answers is not met without that variable', async () => {
  for (const [name, items] of [
    ['ENVIRONMENT', ['ENVIRONMENT']],
    ['KDF_SALT', ['KDF_SALT', 'salt length', 'PBKDF2 iterations']],
    ['ENCRYPTION_KEY', ['PBKDF2 iterations']],
  ] as const) {
    expect(await unmetItems({ ...configured, ENVIRONMENT: 'development', [name]: '' })).toEqual(
      items,
    );
  }
});

test('the iterations shown are those of the weakest key', async () => {
  const weaker = [{ version: 1, key: 'an older passphrase', iterations: 120_000 }];
  const items = await readChecklist(
    loadConfig({
      ...configured,
      ENCRYPTION_KEY_VERSION: '2',
      LEGACY_ENCRYPTION_KEYS: JSON.stringify(weaker),
    }),
  );
  expect(items.find(({ item }) => item === 'PBKDF2 iterations')).toMatchObject({
    seen: '120000 at the weakest key',
    met: true,
  });
});

test('a dropped index and an unprotected table are named', async () => {
  await database.sql`drop index ix_llm_budgets_tenant_id`;
  await database.sql`drop trigger require_context on aws_accounts`;
  expect(await unmetItems(configured)).toEqual(['indexes', 'RLS is enforced by exception']);
});

test('a database without Purser fails the items, not the command', async () => {
  const empty = await emptyDatabase();
  try {
    const items = await readChecklist(loadConfig({ ...configured, DATABASE_URL: empty.url }));
    expect(items.find(({ item }) => item === 'llm_budgets')).toMatchObject({
      seen: 'the table does not exist',
      met: false,
    });
    expect(
      items.find(({ section, item }) => section === 'security' && item.startsWith('RLS')),
    ).toMatchObject({ met: false });
  } finally {
    await empty.close();
  }
});
