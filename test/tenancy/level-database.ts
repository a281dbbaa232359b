/** A migrated database at a level of tenancy, with the pools that a role opens. */
import { prepareDatabase } from '../../src/cli/runtime/prepare-database.ts';
import { openDatabase } from '../../src/db/database.ts';
import type { Database, TenancyLevel } from '../../src/db/database.ts';
import { emptyDatabase, freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

export interface LevelDatabase {
  readonly test: TestDatabase;
  readonly database: Database;
  close(): Promise<void>;
}

export const levels: readonly TenancyLevel[] = ['L1', 'L2', 'L3'];

async function openL1(tenantConnections: number): Promise<LevelDatabase> {
  const test = await emptyDatabase('purser_plain');
  const prepared = await prepareDatabase({ url: test.url });
  if (prepared.usesRoles) throw new Error('purser_plain may have roles, so this is not level L1');
  const database = await openDatabase({
    url: test.url,
    applicationName: 'purser test level',
    systemConnections: 4,
    tenantConnections,
  });
  return {
    test,
    database,
    close: async () => {
      await database.close();
      await test.close();
    },
  };
}

/** The caller closes it. `close` fails if a connection to the database was left open. */
export async function openLevel(
  level: TenancyLevel,
  tenantConnections = 2,
): Promise<LevelDatabase> {
  if (level === 'L1') return openL1(tenantConnections);
  const test = await freshDatabase();
  const database = await test.open({ level, tenantConnections });
  return { test, database, close: () => test.close() };
}
