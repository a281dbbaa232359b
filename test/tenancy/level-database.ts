/** A migrated database on each level of tenancy, with the pools as a role opens them. */
import { prepareDatabase } from '../../src/cli/runtime/prepare-database.ts';
import { openDatabase } from '../../src/db/database.ts';
import type { Database, TenancyLevel } from '../../src/db/database.ts';
import { emptyDatabase, freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

export interface Standing {
  readonly test: TestDatabase;
  readonly database: Database;
  close(): Promise<void>;
}

export const levels: readonly TenancyLevel[] = ['L1', 'L2', 'L3'];

async function standOnL1(tenantConnections: number): Promise<Standing> {
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

/** Close it: its pools first, then the database, which fails on a connection that was left open. */
export async function standOn(level: TenancyLevel, tenantConnections = 2): Promise<Standing> {
  if (level === 'L1') return standOnL1(tenantConnections);
  const test = await freshDatabase();
  const database = await test.open({ level, tenantConnections });
  return { test, database, close: () => test.close() };
}
