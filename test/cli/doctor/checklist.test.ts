/** The go-live checklist, seen on a real database. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readChecklist } from '../../../src/cli/doctor/checklist/checklist.ts';
import { loadConfig } from '../../../src/config.ts';
import { emptyDatabase, freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(async () => {
  await database.close();
});

const salt = Buffer.alloc(32, 7).toString('base64');

test('a migrated, configured deployment meets every item that can be seen', async () => {
  const items = await readChecklist(loadConfig({ DATABASE_URL: database.url, KDF_SALT: salt }));
  expect(items.filter(({ met }) => met === false)).toEqual([]);
  expect(items.filter(({ met }) => met === true).length).toBeGreaterThanOrEqual(13);
  expect(items.every(({ command, expected, seen }) => `${command}${expected}${seen}` !== '')).toBe(
    true,
  );
});

test('what is missing is named: an unprotected table, a dropped index, an unset salt', async () => {
  await database.sql`drop index ix_llm_budgets_tenant_id`;
  await database.sql`drop trigger require_context on aws_accounts`;
  const items = await readChecklist(loadConfig({ DATABASE_URL: database.url }));
  const unmet = items.filter(({ met }) => met === false).map(({ item }) => item);
  expect(unmet).toEqual(['KDF_SALT', 'indexes', 'RLS is enforced by exception']);
});

test('a database without Purser fails the items, not the command', async () => {
  const empty = await emptyDatabase();
  try {
    const items = await readChecklist(loadConfig({ DATABASE_URL: empty.url, KDF_SALT: salt }));
    expect(items.find(({ item }) => item === 'llm_budgets')).toMatchObject({
      seen: 'there is no such table',
      met: false,
    });
    expect(
      items.find(({ section, item }) => section === 'security' && item.startsWith('RLS')),
    ).toMatchObject({ met: false });
  } finally {
    await empty.close();
  }
});
