import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded.ts';
import { migrateUp } from '../../src/db/migrate.ts';

/** A server of its own: roles belong to the server, and here none of ours exists yet. */
let dataDir: string;
let server: Awaited<ReturnType<typeof startEmbeddedPostgres>>;
let admin: Sql;
const password = randomBytes(16).toString('hex');

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'purser-roles-'));
  await chmod(dataDir, 0o711);
  server = await startEmbeddedPostgres({ dataDir, durable: false });
  admin = connect(server.bootstrapUrl, { max: 1, applicationName: 'purser test roles' });
  await admin.unsafe(`create role app login createrole password '${password}'`);
  await admin.unsafe(`create role plain login password '${password}'`);
});
afterAll(async () => {
  await admin.end({ timeout: 5 });
  await server.stop();
  await rm(dataDir, { recursive: true, force: true });
});

async function database(name: string, login: string): Promise<string> {
  await admin.unsafe(`create database ${name} owner ${login}`);
  const url = new URL(server.bootstrapUrl);
  url.username = login;
  url.password = password;
  url.pathname = `/${name}`;
  return url.href;
}

it('four databases of a new server migrated at once all get the roles', async () => {
  const urls = [];
  for (const name of ['one', 'two', 'three', 'four']) urls.push(await database(name, 'app'));
  const results = await Promise.all(urls.map((url) => migrateUp(url)));
  expect(results.map(({ usesRoles }) => usesRoles)).toEqual([true, true, true, true]);
  const roles = await admin`
    select rolname, rolcanlogin or rolsuper or rolbypassrls as mighty from pg_roles
    where rolname in ('purser_system', 'purser_tenant') order by 1`;
  expect(roles).toEqual([
    { rolname: 'purser_system', mighty: false },
    { rolname: 'purser_tenant', mighty: false },
  ]);
});

it('a login that may not have the roles gets a database without them, and says so', async () => {
  const result = await migrateUp(await database('five', 'plain'), { tenantLogin: 'app' });
  expect(result).toMatchObject({ usesRoles: false, tenantLoginRefused: true });
});
