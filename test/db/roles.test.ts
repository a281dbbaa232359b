import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import { openDatabase } from '../../src/db/database.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import { migrateUp } from '../../src/db/migrate.ts';
import { makeDatabase, makeLogin } from '../support/administrator.ts';
import { runCli } from '../support/process.ts';

/** A separate server, because roles belong to the server, and here Purser's must not exist yet. */
let dataDir: string;
let server: Awaited<ReturnType<typeof startEmbeddedPostgres>>;
const password = randomBytes(16).toString('hex');
const app = { name: 'app', password, createRole: true };
const plain = { name: 'plain', password };

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'purser-roles-'));
  await chmod(dataDir, 0o711);
  server = await startEmbeddedPostgres({ dataDir, durable: false });
  await makeLogin(server, app);
  await makeLogin(server, plain);
});
afterAll(async () => {
  await server.stop();
  await rm(dataDir, { recursive: true, force: true });
});

it('four databases of a new server migrated at once all get the roles', async () => {
  const urls = [];
  for (const name of ['one', 'two', 'three', 'four']) {
    urls.push(await makeDatabase(server, name, app));
  }
  const results = await Promise.all(urls.map((url) => migrateUp(url)));
  expect(results.map(({ usesRoles }) => usesRoles)).toEqual([true, true, true, true]);
  const sql = connect(urls[0] ?? '', { max: 1, applicationName: 'purser test roles' });
  const roles = await sql`
    select rolname, rolcanlogin or rolsuper or rolbypassrls as mighty from pg_roles
    where rolname in ('purser_system', 'purser_tenant') order by 1`;
  await sql.end({ timeout: 5 });
  expect(roles).toEqual([
    { rolname: 'purser_system', mighty: false },
    { rolname: 'purser_tenant', mighty: false },
  ]);
});

it('a login that cannot have the roles gets a database without them, which migrate reports', async () => {
  const result = await migrateUp(await makeDatabase(server, 'five', plain), { tenantLogin: 'app' });
  expect(result).toMatchObject({ usesRoles: false, tenantLoginRefused: true });
});

const open = (url: string, tenantUrl?: string) =>
  openDatabase({
    url,
    tenantUrl,
    applicationName: 'purser test roles',
    systemConnections: 1,
    tenantConnections: 1,
  });

it('a superuser or BYPASSRLS login is refused as tenant login, and at L1 as DATABASE_URL', async () => {
  const free = { name: 'free', password, bypassRls: true };
  await makeLogin(server, free);
  const url = await makeDatabase(server, 'six', app);
  const sql = connect(url, { max: 1, applicationName: 'purser test roles' });
  await migrateUp(url);
  await sql`grant purser_tenant to free`;
  await sql.end({ timeout: 5 });
  const tenantUrl = Object.assign(new URL(url), { username: 'free' }).href;
  await expect(open(url, tenantUrl)).rejects.toMatchObject({
    code: 'tenant_login_unfit',
    message: expect.stringContaining('BYPASSRLS'),
  });

  const plainUrl = await makeDatabase(server, 'seven', free);
  expect(await migrateUp(plainUrl)).toMatchObject({ usesRoles: false });
  await expect(open(plainUrl)).rejects.toMatchObject({ code: 'login_unbound', exitCode: 78 });
});

it('a login that does not own the database is refused with exit code 78', async () => {
  const url = new URL(await makeDatabase(server, 'eight', app));
  url.username = plain.name;
  const { code, stdout, stderr } = await runCli(['migrate', 'up'], {
    env: { DATABASE_URL: url.href },
  });
  expect([code, stdout]).toEqual([78, '']);
  expect(stderr).toContain('the login of DATABASE_URL lacks a privilege: permission denied');
  expect(stderr).toContain('Use the login that owns the database');
});

it('a server without free connections gives exit code 69 and advice', async () => {
  const url = await makeDatabase(server, 'nine', app);
  const sql = connect(url, { max: 1, applicationName: 'purser test roles' });
  await sql`alter database nine connection limit 0`;
  const { code, stderr } = await runCli(['jobs', 'list'], { env: { DATABASE_URL: url } });
  await sql.end({ timeout: 5 });
  expect(code).toBe(69);
  expect(stderr).toContain('too many connections for database "nine"');
  expect(stderr).toContain('Run fewer processes, take a larger plan, or use a pooler');
});
