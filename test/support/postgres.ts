/**
 * The Postgres of a test run: a private one from the embedded binaries, or the server that
 * PURSER_TEST_POSTGRES_URL names, with the logins the tests use and a migrated template database.
 */
import { createHash, randomBytes } from 'node:crypto';
import { chmod, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import { prepareDatabase } from '../../src/cli/runtime/prepare-database.ts';
import { makeJobsWritable } from '../db/writable-jobs.ts';

/** What the test processes get to know. No superuser among the logins. */
export interface TestPostgres {
  readonly host: string;
  readonly port: number;
  /** Common prefix of this run's databases. */
  readonly prefix: string;
  readonly templateName: string;
  readonly password: string;
  readonly version: string;
}

/**
 * `purser_app` is what production's DATABASE_URL should be: owner of its databases, may create
 * roles, no superuser. (CREATEDB is for cloning the template, Purser never uses it.)
 * `purser_app_tenant` is TENANT_DATABASE_URL of level L3; `purser_plain` may do nothing but own its
 * database, which makes level L1.
 */
export type TestLogin = 'purser_app' | 'purser_app_tenant' | 'purser_plain';

export const testLogins: readonly TestLogin[] = ['purser_app', 'purser_app_tenant', 'purser_plain'];
const attributes: Record<TestLogin, string> = {
  purser_app: 'login createrole createdb nosuperuser nobypassrls',
  purser_app_tenant: 'login nocreaterole nocreatedb nosuperuser nobypassrls',
  purser_plain: 'login nocreaterole createdb nosuperuser nobypassrls',
};

export function loginUrl(server: TestPostgres, login: TestLogin, database: string): string {
  return `postgres://${login}:${server.password}@${server.host}:${server.port}/${database}`;
}

export interface TestServer {
  readonly facts: TestPostgres;
  stop(): Promise<void>;
}

/** Starts (or reaches) the server, makes logins and template; stop() removes all it made. */
export async function startTestServer(externalUrl: string | undefined): Promise<TestServer> {
  const server =
    externalUrl === undefined
      ? await startPrivate()
      : { adminUrl: externalUrl, stop: () => Promise.resolve() };
  const admin = connect(server.adminUrl, { max: 1, applicationName: 'purser test setup' });
  const facts = await factsOf(admin, server.adminUrl);
  const stop = async () => {
    try {
      if (externalUrl !== undefined) await dropDatabases(admin, facts.prefix);
    } finally {
      await admin.end({ timeout: 5 });
      await server.stop();
    }
  };
  try {
    for (const login of testLogins) await ensureLogin(admin, login, facts.password);
    await admin`create database ${admin(facts.templateName)} owner purser_app`;
    // Its creator may hand out the tenant login's role, as an administrator would have allowed.
    await admin`grant purser_app_tenant to purser_app with admin option`;
    const result = await prepareDatabase({
      url: loginUrl(facts, 'purser_app', facts.templateName),
      tenantLogin: 'purser_app_tenant',
    });
    if (!result.usesRoles || result.tenantLoginRefused) {
      throw new Error(
        'the template database did not reach tenancy level L2 and admit the L3 login',
      );
    }
    await openJobsView(loginUrl(facts, 'purser_app', facts.templateName));
    return { facts, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function openJobsView(url: string): Promise<void> {
  const sql = connect(url, { max: 1, applicationName: 'purser test template' });
  try {
    await makeJobsWritable(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

async function startPrivate(): Promise<{ adminUrl: string; stop: () => Promise<void> }> {
  const dataDir = await mkdtemp(join(tmpdir(), 'purser-test-'));
  await chmod(dataDir, 0o711);
  const server = await startEmbeddedPostgres({
    dataDir,
    durable: false,
    settings: { max_connections: '300', shared_buffers: '256MB', autovacuum_naptime: '5s' },
  });
  return { adminUrl: server.bootstrapUrl, stop: () => server.stop() };
}

async function factsOf(admin: Sql, adminUrl: string): Promise<TestPostgres> {
  const { hostname, port } = new URL(adminUrl);
  const [row] = await admin<{ version: string }[]>`
    select current_setting('server_version') as version`;
  const prefix = `purser_test_${randomBytes(4).toString('hex')}`;
  return {
    host: hostname,
    port: Number(port === '' ? '5432' : port),
    prefix,
    templateName: `${prefix}_template`,
    // The same in every run against the same server: roles belong to the whole server.
    password: createHash('sha256').update(`purser tests ${adminUrl}`).digest('hex'),
    version: row?.version ?? 'unknown',
  };
}

async function ensureLogin(admin: Sql, login: TestLogin, password: string): Promise<void> {
  const [known] = await admin`select from pg_roles where rolname = ${login}`;
  const verb = known === undefined ? 'create' : 'alter';
  await admin.unsafe(`${verb} role ${login} ${attributes[login]} password '${password}'`);
}

async function dropDatabases(admin: Sql, prefix: string): Promise<void> {
  const rows = await admin<{ datname: string }[]>`
    select datname from pg_database where starts_with(datname, ${prefix})`;
  for (const { datname } of rows) {
    await admin`drop database if exists ${admin(datname)} with (force)`;
  }
}
