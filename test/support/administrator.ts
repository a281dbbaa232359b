/**
 * The administrator of a server that a test started for itself: makes logins and databases for it, and is
 * nobody that the test's own statements run as.
 */
import { connect } from '../../src/db/connect.ts';
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
