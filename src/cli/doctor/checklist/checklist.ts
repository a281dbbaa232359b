/**
 * `doctor --checklist`: the customer's go-live checklist. Each item has its command here, what is expected, and
 * what was measured on this deployment. Items that only a test can show name the test.
 */
import { randomBytes } from 'node:crypto';
import type { Config } from '../../../config.ts';
import type { Sql } from '../../../db/connect.ts';
import { operatorLockTimeoutMs } from '../../../db/locks/holders.ts';
import { openWithSettings, singleConnection } from '../../../db/pooler.ts';
import { directVariable } from '../../runtime/database-options.ts';
import { using } from '../../runtime/unreachable.ts';
import { withLockWatch } from '../../runtime/with-database.ts';
import { configurationItems } from './configuration.ts';
import { databaseItems } from './database.ts';
import type { ChecklistItem } from './item.ts';
import { testItems } from './tests.ts';

const definitions = [...configurationItems, ...testItems, ...databaseItems];

/** Measures every item. Throws when the database cannot be reached, and `lock_held` where a measurement waits. */
export async function readChecklist(config: Config): Promise<ChecklistItem[]> {
  const url = config.DATABASE_DIRECT_URL ?? config.DATABASE_URL;
  if (url === undefined) return measureAll(config, undefined);
  const applicationName = `purser doctor ${randomBytes(4).toString('hex')}`;
  const single = singleConnection(url, { applicationName, tlsVerify: config.DATABASE_TLS_VERIFY });
  const sql = await using(config, directVariable(config), () => openWithSettings(single));
  const watcher = single({ allSettings: false });
  try {
    await sql`select set_config('lock_timeout', ${String(operatorLockTimeoutMs)}, false)`;
    return await withLockWatch(watcher, applicationName, () => measureAll(config, sql));
  } finally {
    await Promise.all([sql.end({ timeout: 5 }), watcher.end({ timeout: 5 })]);
  }
}

async function measureAll(config: Config, sql: Sql | undefined): Promise<ChecklistItem[]> {
  const items: ChecklistItem[] = [];
  for (const { measure, ...definition } of definitions) {
    items.push({ ...definition, ...(await measure({ config, sql })) });
  }
  return items;
}
