/**
 * `doctor --checklist`: the customer's go-live checklist. Each item has its command here, what is expected, and
 * what was measured on this deployment. Items that only a test can show name the test.
 */
import type { Config } from '../../../config.ts';
import { openWithSettings, singleConnection } from '../../../db/pooler.ts';
import { configurationItems } from './configuration.ts';
import { databaseItems } from './database.ts';
import type { ChecklistItem } from './item.ts';
import { testItems } from './tests.ts';

const definitions = [...configurationItems, ...testItems, ...databaseItems];

/** Measures every item. Throws when the database cannot be reached. */
export async function readChecklist(config: Config): Promise<ChecklistItem[]> {
  const sql =
    config.DATABASE_URL === undefined
      ? undefined
      : await openWithSettings(
          singleConnection(config.DATABASE_DIRECT_URL ?? config.DATABASE_URL, {
            applicationName: 'purser doctor',
            tlsVerify: config.DATABASE_TLS_VERIFY,
          }),
        );
  try {
    const items: ChecklistItem[] = [];
    for (const { measure, ...definition } of definitions) {
      items.push({ ...definition, ...(await measure({ config, sql })) });
    }
    return items;
  } finally {
    await sql?.end({ timeout: 5 });
  }
}
