/**
 * A role and a database on which every session setting is wrong: no connection of Purser has any of these values,
 * and a fleet works. Behind a pooler, which does not take most of them, tenant transactions set them, and a process
 * refuses to start where other statements would have a wrong one.
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { prepareDatabase } from '../../src/cli/runtime/prepare-database.ts';
import type { Queryable, Sql } from '../../src/db/connect.ts';
import { openDatabase } from '../../src/db/database.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import type { EmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import { sessionSettings } from '../../src/session-settings.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import { ingestSample, leave, startRole, untilWorkIsDone } from '../platform/fleet.ts';
import {
  administer,
  inspectAsAdministrator,
  makeDatabase,
  makeLogin,
} from '../support/administrator.ts';
import { runCli } from '../support/process.ts';
import type { CliProcess } from '../support/process.ts';
import { addTenant, startAttempt } from '../support/tenants.ts';

/** The values of the role. A setting that is missing here fails the test. */
const wrong: Readonly<Record<string, string>> = {
  client_encoding: 'LATIN1',
  datestyle: 'SQL, DMY',
  timezone: 'Pacific/Kiritimati',
  standard_conforming_strings: 'off',
  intervalstyle: 'sql_standard',
  timezone_abbreviations: 'Australia',
  bytea_output: 'escape',
  extra_float_digits: '-15',
  search_path: 'nowhere',
  role: 'somebody_else',
  statement_timeout: '1',
  lock_timeout: '1',
  idle_in_transaction_session_timeout: '1',
  idle_session_timeout: '1',
  transaction_timeout: '1',
  default_transaction_isolation: 'serializable',
  default_transaction_deferrable: 'on',
  row_security: 'off',
  session_replication_role: 'replica',
  array_nulls: 'off',
  transform_null_equals: 'on',
  quote_all_identifiers: 'on',
  check_function_bodies: 'off',
  exit_on_error: 'on',
  gin_fuzzy_search_limit: '1',
  client_min_messages: 'error',
  log_parameter_max_length_on_error: '-1',
  lc_monetary: 'C.UTF-8',
  lc_numeric: 'C.UTF-8',
  lc_time: 'C.UTF-8',
  xmlbinary: 'hex',
  xmloption: 'document',
};
const settable = sessionSettings.filter(({ superuser }) => superuser !== true);

let dataDir: string;
let server: EmbeddedPostgres;
let url: string;
const app = { name: 'app', password: randomBytes(16).toString('hex'), createRole: true };
const tenant = { name: 'app_tenant', password: randomBytes(16).toString('hex') };

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'purser-settings-'));
  await chmod(dataDir, 0o711);
  server = await startEmbeddedPostgres({ dataDir, durable: false });
  await makeLogin(server, app);
  await makeLogin(server, tenant);
  await administer(
    server,
    'grant app_tenant to app with admin option; create role somebody_else; grant somebody_else to app, app_tenant',
  );
  url = await makeDatabase(server, 'wrong', app);
  for (const { name } of settable) {
    for (const role of [app.name, tenant.name]) {
      await administer(server, `alter role ${role} set ${name} = '${wrong[name]}'`);
    }
  }
});
afterAll(async () => {
  await server.stop();
  await rm(dataDir, { recursive: true, force: true });
});

/** The role's own connections would be as wrong as it is. */
const asAdministrator = (run: (sql: Sql) => Promise<void>): Promise<void> =>
  inspectAsAdministrator(server, 'wrong', run);

const tenantUrl = (): string => {
  const address = new URL(url);
  [address.username, address.password] = [tenant.name, tenant.password];
  return address.href;
};

async function valuesOf(sql: Queryable): Promise<Record<string, string>> {
  const rows = await sql<{ name: string; value: string }[]>`
    select s.name, current_setting(s.name) as value
    from unnest(${settable.map(({ name }) => name)}::text[]) as s (name)`;
  return Object.fromEntries(rows.map(({ name, value }) => [name, value]));
}
const right = Object.fromEntries(settable.map(({ name, value }) => [name, value]));

describe(`a role on which all ${settable.length} session settings are wrong`, () => {
  it('has a wrong value for each', () => {
    expect(Object.keys(wrong).toSorted()).toEqual(
      sessionSettings.map(({ name }) => name).toSorted(),
    );
    for (const { name, value } of sessionSettings) expect(wrong[name]).not.toBe(value);
  });

  it('migrates, and every pool has the right values', async () => {
    await prepareDatabase({ url, tenantLogin: tenant.name });
    for (const login of [undefined, tenantUrl()]) {
      const database = await openDatabase({
        url,
        tenantUrl: login,
        applicationName: 'purser test settings',
        systemConnections: 1,
        tenantConnections: 1,
      });
      try {
        const idle = { idle_in_transaction_session_timeout: '20s' };
        expect(await valuesOf(database.system)).toEqual({ ...right, ...idle });
        expect(await valuesOf(database.leases)).toEqual({ ...right, ...idle });
        expect(await database.tenant.sessions.use(({ sql }) => valuesOf(sql))).toEqual(right);
        const { token } = await startAttempt(database.system, await addTenant(database.system));
        const sql = tenantSql(database.tenant, { token });
        expect(await sql.begin(valuesOf)).toMatchObject({
          datestyle: 'ISO, MDY',
          search_path: 'public',
        });
        expect(await sql`select '2026-03-04'::date as day`).toEqual([
          { day: new Date('2026-03-04') },
        ]);
      } finally {
        await database.close();
      }
    }
    process.stderr.write(`  ${settable.length} session settings, right on every pool\n`);
  });

  it('runs a fleet, with queues in Postgres', async () => {
    const env = { DATABASE_URL: url, TENANT_DATABASE_URL: tenantUrl() };
    const fleet: CliProcess[] = [];
    try {
      for (const role of ['scheduler', 'worker', 'web']) fleet.push(await startRole(role, env));
      await ingestSample(env);
      await asAdministrator(async (sql) => {
        const jobs = await untilWorkIsDone(sql);
        expect(jobs['cost_ingestion completed']).toBe(12);
      });
      await leave(fleet);
    } finally {
      await Promise.all(fleet.map((child) => child.kill()));
    }
  }, 120_000);

  it('is named by doctor, setting by setting', async () => {
    const env = { DATABASE_URL: url, TENANT_DATABASE_URL: tenantUrl() };
    const { stdout } = await runCli(['doctor', '--json'], { env });
    const findings = JSON.parse(stdout) as { check: string; level: string; seen: string }[];
    const finding = findings.find(({ check }) => check === 'session settings');
    expect(finding?.level).toBe('warn');
    for (const { name } of settable) {
      for (const role of [app.name, tenant.name]) {
        expect(finding?.seen.toLowerCase()).toContain(`role ${role}: ${name}=`);
      }
    }
  });

  it('is refused where a setting is wrong that only a superuser may set', async () => {
    await administer(server, `alter role app set session_replication_role = 'replica'`);
    const { code, stderr } = await runCli(['jobs', 'list'], { env: { DATABASE_URL: url } });
    await administer(server, 'alter role app reset session_replication_role');
    expect(stderr).toMatch(/session_replication_role is 'replica' instead of 'origin'/);
    expect(code).toBe(78);
  });
});

it('a database that is not UTF8 is refused by migrate, with exit code 78', async () => {
  await administer(
    server,
    `create database latin owner app encoding 'LATIN1' template template0 locale_provider libc lc_collate 'C' lc_ctype 'C'`,
  );
  const { code, stderr } = await runCli(['migrate', 'up'], {
    env: { DATABASE_URL: url.replace('/wrong', '/latin') },
  });
  expect(stderr).toMatch(/encoding of this database is LATIN1/);
  expect(code).toBe(78);
});
