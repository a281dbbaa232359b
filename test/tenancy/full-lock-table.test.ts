/**
 * More temporary tables than one statement can drop, because the lock table is full. It is shared by the whole server,
 * so the test starts its own server.
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { prepareDatabase } from '../../src/cli/runtime/prepare-database.ts';
import { openDatabase } from '../../src/db/database.ts';
import type { Database } from '../../src/db/database.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import { makeDatabase, makeLogin } from '../support/administrator.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

let dataDir: string;
let server: Awaited<ReturnType<typeof startEmbeddedPostgres>>;
let database: Database;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'purser-locks-'));
  await chmod(dataDir, 0o711);
  server = await startEmbeddedPostgres({
    dataDir,
    durable: false,
    settings: { max_connections: '20', max_locks_per_transaction: '20' },
  });
  const app = { name: 'app', password: randomBytes(16).toString('hex') };
  await makeLogin(server, app);
  const url = await makeDatabase(server, 'small', app);
  await prepareDatabase({ url });
  database = await openDatabase({
    url,
    applicationName: 'purser test locks',
    systemConnections: 2,
    tenantConnections: 1,
  });
});
afterAll(async () => {
  await database.close();
  await server.stop();
  await rm(dataDir, { recursive: true, force: true });
});

const as = async () => {
  const { token } = await startAttempt(database.system, await addTenant(database.system));
  return tenantSql(database.tenant, { token });
};

it('made by SQL that commits on its own, costs the next tenant nothing', async () => {
  const [hostile, next] = [await as(), await as()];
  const some = `do $$ begin for n in 1..100 loop
      execute format('create temporary table %I (a int)', gen_random_uuid()); end loop; end $$; commit;`;
  await expect(hostile.unsafe(some.repeat(20))).rejects.toMatchObject({
    code: 'transaction_ended',
  });
  expect(await next`select 1 as one`).toEqual([{ one: 1 }]);
});

it('whose locks others hold when it is to be reset, costs the next tenant no attempt', async () => {
  const [first, next] = [await as(), await as()];
  await first.unsafe(`do $$ begin for n in 1..100 loop
      execute format('create temporary table %I (a int)', gen_random_uuid()); end loop; end $$`);
  await database.system.begin(async (tx) => {
    await tx.unsafe(`do $$ begin for n in 1..9999 loop
        begin perform pg_advisory_xact_lock(n); exception when out_of_memory then exit; end;
      end loop; end $$`);
    await expect(next`select 1 as one`).rejects.toMatchObject({ code: 'database_unavailable' });
  });
  expect(await next`select 1 as one`).toEqual([{ one: 1 }]);
});
