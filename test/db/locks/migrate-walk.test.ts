/** A migration that meets a tenant's lock goes on or names the holder, and the fleet does not stop behind it. */
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Database } from '../../../src/db/database.ts';
import { migrateDown, migrateUp } from '../../../src/db/migrate.ts';
import { messageOf } from '../../../src/errors.ts';
import { eventually } from '../../jobs/job-steps.ts';
import { addWalkedTypes, arrangeTenant } from '../../scheduler/arranged-tenant.ts';
import { fleetStatements } from '../../scheduler/fleet-statements.ts';
import { deleteTenants, holdLock, listTenantLocks } from '../../scheduler/locking-tenant.ts';
import { startWalk } from '../../scheduler/walk.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';

let test: TestDatabase;
let database: Database;
let folder: string;
beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ level: 'L3', systemConnections: 8 });
  await addWalkedTypes(test.sql);
  folder = await mkdtemp(join(tmpdir(), 'purser-sql-'));
  await cp('sql', folder, { recursive: true });
  const tables = await test.sql<{ name: string }[]>`
    select table_name as name from purser.protected_tables order by 1`;
  const each = (change: string) =>
    tables.map(({ name }) => `alter table ${name} ${change};`).join('\n');
  await writeFile(join(folder, '9000_walk.sql'), each('add column walked integer'));
  await writeFile(join(folder, '9000_walk.down.sql'), each('drop column walked'));
  await migrateUp(test.url, { folder });
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  await test.close();
});

/** More than the lock timeouts of the step that is met last. */
const withinMs = 60_000;
const fleetWithinMs = 30_000;
/** The holder can be a statement of the fleet that waits behind the tenant itself. */
const clear = /waited in vain for a lock that pid \d+ \(login purser_app/;

function falseIfDeadlock(error: unknown): false {
  if (messageOf(error).includes('deadlock detected')) return false;
  throw error;
}

it('migrate up and down end within their limit, and the fleet goes on meanwhile', async () => {
  const locks = await listTenantLocks(test.sql);
  const walk = startWalk();
  let refused = 0;
  const orNamed = async (name: string, run: () => Promise<unknown>): Promise<void> =>
    walk.step(name, withinMs, async () => {
      await run().catch((error: unknown) => {
        if (!clear.test(messageOf(error))) throw error;
        refused += 1;
      });
      return true;
    });
  for (const lock of locks) {
    if (walk.hasEnough()) break;
    const [holder, free] = [await arrangeTenant(test.sql), await arrangeTenant(test.sql)];
    const held = await holdLock(database.tenant, holder, lock);
    const migrating = orNamed(`${lock.name} | migrate up`, () =>
      migrateUp(test.url, { folder, lockWaitMs: 1_000 }),
    ).then(() =>
      orNamed(`${lock.name} | migrate down`, () =>
        migrateDown(test.url, 1, { folder, lockWaitMs: 1_000 }),
      ),
    );
    for (const { name, run } of fleetStatements) {
      const backend = { ping: () => Promise.resolve() };
      // In the next round, where its lock timeout passed behind the migration, or the two waited for each other.
      await walk.step(`${lock.name} | fleet, ${name}`, fleetWithinMs, () =>
        eventually(
          name,
          async () =>
            (await run(database.system, [free], free, backend).catch(falseIfDeadlock)) || undefined,
        ),
      );
    }
    await migrating;
    await held.release();
    await migrateUp(test.url, { folder });
    await deleteTenants(test.sql);
  }
  process.stderr.write(
    `  ${locks.length} locks of a tenant, migrate up and down, ${walk.runs()} runs, ${refused} named the holder\n`,
  );
  expect(walk.failures).toEqual([]);
}, 900_000);
