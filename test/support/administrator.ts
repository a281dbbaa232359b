/**
 * The administrator of a server that a test started for itself: makes logins and databases, and inspects a database
 * from outside. Statements under test never run as this login.
 */
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import type { EmbeddedPostgres } from '../../src/db/embedded/embedded.ts';

export async function administer(
  server: Pick<EmbeddedPostgres, 'bootstrapUrl'>,
  statement: string,
): Promise<void> {
  const admin = connect(server.bootstrapUrl, { max: 1, applicationName: 'purser test setup' });
  try {
    await admin.unsafe(statement);
  } finally {
    await admin.end({ timeout: 5 });
  }
}

/** A login that is no superuser and, if it is not told otherwise, bypasses no policy. */
export function makeLogin(
  server: Pick<EmbeddedPostgres, 'bootstrapUrl'>,
  login: {
    readonly name: string;
    readonly password: string;
    readonly createRole?: boolean;
    readonly bypassRls?: boolean;
  },
): Promise<void> {
  const createRole = login.createRole === true ? 'createrole' : 'nocreaterole';
  const bypassRls = login.bypassRls === true ? 'bypassrls' : 'nobypassrls';
  return administer(
    server,
    `create role ${login.name} login nosuperuser ${bypassRls} ${createRole} password '${login.password}'`,
  );
}

/** Returns its address for its owner's login. */
export async function makeDatabase(
  server: Pick<EmbeddedPostgres, 'bootstrapUrl'>,
  name: string,
  owner: { readonly name: string; readonly password: string },
): Promise<string> {
  await administer(server, `create database ${name} owner ${owner.name}`);
  const url = new URL(server.bootstrapUrl);
  url.username = owner.name;
  url.password = owner.password;
  url.pathname = `/${name}`;
  return url.href;
}

/** Runs `run` on a connection of the administrator to `database`. */
export async function inspectAsAdministrator(
  server: Pick<EmbeddedPostgres, 'bootstrapUrl'>,
  database: string,
  run: (sql: Sql) => Promise<void>,
): Promise<void> {
  const url = new URL(server.bootstrapUrl);
  url.pathname = `/${database}`;
  const sql = connect(url.href, { max: 1, applicationName: 'purser test inspection' });
  try {
    await run(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}
